"""Weighted BCE: a cross-encoder on pairs, of which few are relevant.

Binary cross-entropy over logits; each relevant pair counts `pos_weight` times, so that a model that
calls everything irrelevant gains nothing by it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from pydantic import BaseModel, Field
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from service.datasets import (
    LabelledPair,
    TrainingRow,
    open_collection,
    read_labelled_pairs,
    read_training_rows,
    rows_kind,
)
from service.datasets.training_rows import as_pairs
from service.errors import InvalidInputError
from service.evaluation.pairs import classification_report
from service.text.normalizer import clean
from service.training.bases import load_cross_encoder, saver
from service.training.label_rows import dataset, describe, most, read_options, split
from service.training.mining.choice import Choice
from service.training.mining.compose import mine
from service.training.mining.examples import Examples, from_collection
from service.training.system import Job, Prepared

_BM25_RANKS = 100
"""Number of passages that BM25 negatives are drawn from."""

_BATCH = 64


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `pos_weight` is a number, or `from data`: irrelevant pairs to relevant ones among those trained
    on. `negatives` and `bm25_share` are for BEIR folders: negatives per right passage,
    of which that share is drawn from BM25's first hundred and the rest from anywhere.
    `most_queries` bounds the queries of all parts together; 0 takes all.
    """

    pos_weight: Literal["from data"] | float = "from data"
    negatives: int = Field(4, ge=1)
    bm25_share: float = Field(0.5, ge=0, le=1)
    freeze_embeddings: bool = False
    most_queries: int = Field(0, ge=0)


def prepare(job: Job) -> Prepared:
    """Pairs (query, passage, label) of the recipe's split by query.

    Collections are files of labelled pairs, files of rows (each positive and each negative becomes
    a pair), or BEIR folders, whose negatives are drawn here.
    """
    options, training = read_options(job.recipe, Options), job.recipe.training
    if isinstance(options.pos_weight, float) and not options.pos_weight > 0:
        raise InvalidInputError("options.pos_weight must be above 0", "options.pos_weight")
    read = [_read(path, options, training.seed) for path in job.collections]
    pairs = [pair for found in read for pair in found]
    parts = split([(pair.first, pair) for pair in pairs], training)
    for name, found in parts.items():
        if found and len({pair.label for pair in found}) < 2:
            raise InvalidInputError(f"the {name} pairs all have one label", "label")
    relevant = sum(pair.label for pair in parts["train"])
    imbalance = (len(parts["train"]) - relevant) / relevant
    weight = imbalance if options.pos_weight == "from data" else options.pos_weight
    model = load_cross_encoder(job, freeze_embeddings=options.freeze_embeddings)
    return Prepared(
        model=model,
        train=_dataset(parts["train"]),
        validation=_dataset(parts["validation"]),
        loss=BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(weight)),
        figures=lambda: _figures(model, parts["test"], weight),
        data=describe(job.collections, read),
        save=saver(model, job),
        notes=_notes(parts["train"], parts["test"], weight, options, job.collections),
    )


def _read(path: Path, options: Options, seed: int) -> list[LabelledPair]:
    if path.is_dir():
        pairs = as_pairs(_draw_negatives(from_collection(open_collection(path)), options, seed))
    elif rows_kind(path) == "pairs":
        pairs = read_labelled_pairs(path)
        queries = set(most(sorted({p.first for p in pairs}), options.most_queries, str, seed))
        pairs = [pair for pair in pairs if pair.first in queries]
    else:
        rows = read_training_rows(path)
        pairs = as_pairs(most(rows, options.most_queries, lambda row: row.query, seed))
    return [LabelledPair(clean(pair.first), clean(pair.second), pair.label) for pair in pairs]


def _draw_negatives(examples: Examples, options: Options, seed: int) -> list[TrainingRow]:
    """Rows with negatives of both kinds; a passage that both draw occurs once."""
    places = range(len(examples.queries))
    examples = examples.only(
        most(places, options.most_queries, lambda place: examples.queries[place], seed)
    )
    lexical = round(options.negatives * options.bm25_share)
    drawn: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    # More at random than are needed, as some may be BM25's too.
    for strategy, count in (("bm25", lexical), ("random", options.negatives)):
        if not count:
            continue
        ranks = max(_BM25_RANKS, count)
        choice = Choice(
            negatives=count, rank_max=ranks, margin=None, pick="random", seed=seed, complete=False
        )
        for row in mine(strategy, examples, choice).rows:
            kept = drawn.setdefault((row.query, row.positives), [])
            kept += [text for text in row.negatives if text not in kept]
    return [
        TrainingRow(query, positives, tuple(negatives[: options.negatives]))
        for (query, positives), negatives in drawn.items()
    ]


def _dataset(pairs: Sequence[LabelledPair]) -> Dataset:
    rows = [(pair.first, pair.second, float(pair.label)) for pair in pairs]
    return dataset(("query", "passage", "label"), rows)


def _figures(
    model: CrossEncoder, test: Sequence[LabelledPair], weight: float
) -> Mapping[str, float]:
    if not test:
        return {}
    logits = np.asarray(
        model.predict(
            [(pair.first, pair.second) for pair in test],
            batch_size=_BATCH,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        )
    )
    return classification_report(logits, [pair.label for pair in test], pos_weight=weight)


def _notes(
    train: Sequence[LabelledPair],
    test: Sequence[LabelledPair],
    weight: float,
    options: Options,
    collections: Sequence[Path],
) -> tuple[str, ...]:
    share = sum(pair.label for pair in train) / len(train)
    notes = [
        "Split by query: no query is in two parts.",
        f"{share:.1%} of the pairs to train on are relevant; pos_weight {weight:.3f}.",
        f"{len(test)} test pairs of {len({pair.first for pair in test})} queries.",
    ]
    if any(path.is_dir() for path in collections):
        lexical = round(options.negatives * options.bm25_share)
        notes.append(
            f"To each right passage {options.negatives} negatives: {lexical} drawn from BM25's "
            f"first {_BM25_RANKS}, the others from all passages."
        )
    return tuple(notes)
