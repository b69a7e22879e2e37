"""Interaction: a late-interaction head over the token states of a frozen bi-encoder.

States of the sampled texts are computed once and memory-mapped; then a head of some 100,000 weights
learns, listwise, which passage among its query's nearest ones is the right one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from service.datasets import open_collection
from service.encoder.transformer import Transformer
from service.errors import ModelSourceError
from service.models.folder import open_folder
from service.reranker.interaction import InteractionConfig, InteractionHead, piece_information
from service.training.bases import base_prefixes, encode, load_bi_encoder
from service.training.batch_texts import prefixed
from service.training.label_rows import describe, read_options, split
from service.training.list_figures import order_figures
from service.training.losses import listwise
from service.training.mining.examples import BLOCK, Examples, from_collection, sample_examples
from service.training.system import Job, Prepared

_TOKENS_FOR_AXES = 20_000


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `layers` of the base whose states are compared; `dimension` of a token's vector. `passages` and
    `queries` bound what is drawn of each collection. Each query is listed with its positive and
    `negatives` of the `hardest` passages nearest to it, none of which may be nearer than the
    positive by more than `margin` (cosine): such a one is often right, and not labelled.
    """

    layers: tuple[int, ...] = (8, 12)
    dimension: int = Field(128, ge=1)
    passages: int = Field(400, ge=2)
    queries: int = Field(900, ge=1)
    negatives: int = Field(7, ge=1)
    hardest: int = Field(30, ge=1)
    margin: float = Field(0.03, ge=0)
    match: float = Field(0.4, ge=0)
    query_tokens: int = Field(64, ge=8)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A query's place, the places of its right passages, and of all passages, nearest first."""

    query: int
    positives: tuple[int, ...]
    nearest: NDArray[np.int64]


def prepare(job: Job) -> Prepared:
    """Lists of the recipe's split, from labelled folders; the base is a bi-encoder with a mean."""
    options, training = read_options(job.recipe, Options), job.recipe.training
    samples = [
        sample_examples(
            from_collection(open_collection(path)),
            passages=options.passages,
            queries=options.queries,
            seed=training.seed,
        )
        for path in job.collections
    ]
    head, encoder = _untrained(job, options)
    queries, passages = _states(job, samples, encoder, options)
    listed = _nearest(samples, queries, passages)
    keys = [text for sample in samples for text in sample.queries]
    parts = split([(keys[row.query], row) for row in listed], training)
    _start_from_axes(head, passages, training.seed)
    rows = {
        part: _rows(of, queries, passages, options, training.seed) for part, of in parts.items()
    }
    prefix_tokens = encoder.prefix_tokens(base_prefixes(job)[0])
    collate = listwise.Collator(queries, passages, piece_information(job.base), prefix_tokens)
    model = listwise.ListwiseInteraction(head)
    return Prepared(
        model=model,
        train=rows["train"],
        validation=rows["validation"],
        loss=model,
        figures=lambda: _figures(model, parts["test"], collate),
        data=describe(job.collections, [sample.queries for sample in samples]),
        arguments={"remove_unused_columns": False, "label_names": []},
        collate=collate,
        save=head.save,
        notes=(
            f"Of each collection at most {options.passages} passages in blocks of {BLOCK}, and "
            f"{options.queries} of the queries they answer: {len(rows['train'])} lists to train, "
            f"{len(rows['validation'])} to validate, {len(parts['test'])} queries to test.",
            "Figures are of each test query's nearest 100 passages of its own sample.",
        ),
    )


def _untrained(job: Job, options: Options) -> tuple[InteractionHead, Transformer]:
    torch.manual_seed(job.recipe.training.seed)
    encoder = Transformer.load(job.base, batch_tokens=4096, device=job.device)
    encoder.require_layers(options.layers)
    query, passage = base_prefixes(job)
    _check_pooling(job, load_bi_encoder(job), encoder)
    config = InteractionConfig(
        base=job.recipe.base,
        base_weights_sha256=open_folder(job.base, "bi-encoder").sha256,
        query_prefix=query,
        passage_prefix=passage,
        layers=options.layers,
        hidden=encoder.hidden,
        dimension=options.dimension,
    )
    head = InteractionHead(config)
    torch.nn.init.constant_(head.match, options.match)
    return head, encoder


def _check_pooling(job: Job, base: SentenceTransformer, encoder: Transformer) -> None:
    text = "Is the mean of these states the vector of this text?"
    (vector,) = encoder.encode([text], 512)
    if float(encode(base, [text])[0] @ vector) < 0.999 * float(np.linalg.norm(vector)):
        raise ModelSourceError(
            f"{job.recipe.base} does not pool by the mean of its last states, which is what an "
            "interaction head needs"
        )


def _states(
    job: Job, samples: Sequence[Examples], encoder: Transformer, options: Options
) -> tuple[listwise.TrainingStates, listwise.TrainingStates]:
    query_prefix, passage_prefix = base_prefixes(job)
    queries = [prefixed(text, query_prefix) for sample in samples for text in sample.queries]
    passages = [prefixed(text, passage_prefix) for sample in samples for text in sample.passages]
    window, layers = job.recipe.training.max_length, options.layers
    key = repr((queries, passages, options, window, open_folder(job.base, "bi-encoder").sha256))
    # Beside the model, not in it: another training on the same texts finds them there.
    folder = job.out.with_name(f"{job.out.name}.states")
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]

    def stored(side: str, texts: Sequence[str], longest: int) -> listwise.TrainingStates:
        place = folder / f"{side}-{digest}"
        return listwise.store_states(place, texts, encoder, window=longest, layers=layers)

    return stored("queries", queries, options.query_tokens), stored("passages", passages, window)


def _nearest(
    samples: Sequence[Examples], queries: listwise.TrainingStates, passages: listwise.TrainingStates
) -> list[_Listed]:
    """Each query with the passages of its own sample, in stage one's order."""
    listed: list[_Listed] = []
    first_query = first_passage = 0
    for sample in samples:
        vectors = queries.pooled[first_query : first_query + len(sample.queries)]
        own = passages.pooled[first_passage : first_passage + len(sample.passages)]
        order = np.argsort(-(vectors @ own.T), axis=1, kind="stable") + first_passage
        listed += [
            _Listed(first_query + i, tuple(p + first_passage for p in right), order[i])
            for i, right in enumerate(sample.positives)
        ]
        first_query += len(sample.queries)
        first_passage += len(sample.passages)
    return listed


def _rows(
    listed: Sequence[_Listed],
    queries: listwise.TrainingStates,
    passages: listwise.TrainingStates,
    options: Options,
    seed: int,
) -> Dataset:
    generator = np.random.default_rng(seed)
    columns: dict[str, list[object]] = {"query": [], "passages": []}
    for row in listed:
        positive = row.positives[0]
        cosines = passages.pooled[row.nearest] @ queries.pooled[row.query]
        limit = float(passages.pooled[positive] @ queries.pooled[row.query]) + options.margin
        wrong = row.nearest[(cosines < limit) & ~np.isin(row.nearest, row.positives)]
        hard = wrong[: options.hardest]
        if len(hard) >= options.negatives:
            chosen = generator.choice(hard, options.negatives, replace=False)
            columns["query"].append(row.query)
            columns["passages"].append([positive, *chosen.tolist()])
    return Dataset.from_dict(columns)


def _start_from_axes(head: InteractionHead, passages: listwise.TrainingStates, seed: int) -> None:
    """Project onto the principal axes of the passages' states: so few numbers keep no more."""
    generator = np.random.default_rng(seed)
    tokens = len(passages.states)
    chosen = generator.choice(tokens, min(tokens, _TOKENS_FOR_AXES), replace=False)
    states = torch.from_numpy(np.asarray(passages.states[np.sort(chosen)], np.float32))
    mean = states.mean(0)
    axes = torch.linalg.eigh(torch.cov(states.T)).eigenvectors.flip(1)[:, : head.config.dimension]
    with torch.no_grad():
        head.project.weight.copy_(axes.T)
        head.project.bias.copy_(-(axes.T @ mean))


def _figures(
    model: listwise.ListwiseInteraction, test: Sequence[_Listed], collate: listwise.Collator
) -> Mapping[str, float]:
    if not test:
        return {}
    device = next(model.parameters()).device
    right = [row.positives for row in test]
    by_cosine = [row.nearest[:100] for row in test]
    by_head = []
    for row, places in zip(test, by_cosine, strict=True):
        batch = collate([{"query": row.query, "passages": places.tolist()}])
        with torch.inference_mode():
            (scores,) = model(**batch_to_device(batch, device))["scores"].float().cpu()
        by_head.append(places[torch.argsort(-scores, stable=True)])
    cosine = order_figures(right, by_cosine)
    return {
        **order_figures(right, by_head),
        **{f"{name} of the cosine": value for name, value in cosine.items()},
    }
