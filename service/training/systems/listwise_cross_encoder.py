"""Cross-encoder: a small transformer that reads query and passage together, trained on lists.

Each query is listed with one right passage and wrong ones from several sources, and the model
learns to put the right one first, from the labels and, where one is named, from a teacher.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset
from pydantic import BaseModel, Field
from sentence_transformers import CrossEncoder

from service.datasets import TrainingRow, article_key, open_collection
from service.errors import ModelSourceError
from service.models.folder import open_folder
from service.models.model_kinds import kind_of
from service.models.sources import prepare as prepare_model
from service.settings import Settings
from service.text.chunker import TokenCounter
from service.training import bases
from service.training.arguments import autocast, precision_of
from service.training.label_rows import PARTS, Part, describe, part_of, read_options, split
from service.training.list_figures import CANDIDATES, judged_candidates, list_figures
from service.training.lists import LengthBuckets, crop_alike, teacher_logits
from service.training.losses.ranked_list import RankedListLoss
from service.training.mining.choice import Choice
from service.training.mining.compose import mine
from service.training.mining.examples import (
    BLOCK,
    ArticleOf,
    Examples,
    from_collection,
    sample_examples,
)
from service.training.mining.vectors import kept
from service.training.system import Job, Prepared
from service.types import Document, Vectors

NO_TEACHER = "none"

_PAIRS_ON_A_CPU = 16
"""Pairs of like length that go through the model together; a GPU takes a whole batch."""


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `layers` of the base that are kept. `articles` say which passages are siblings, as
    `service.datasets.article_key` reads them; the first that names an article holds. `passages`
    and `queries` bound what is drawn of each collection. To each right passage `negatives` wrong
    ones are listed, from the first `hardest` of four sources in turn, none of which may be nearer
    than the right one by more than `margin` (cosine): such a one is often right, and not labelled.
    The share `cropped` of the lists has crops of at most `longest_crop` tokens. `listwise`, `bce`
    and `distillation` are the weights of the loss's parts, `teacher` a reranker or `none`.

    `encoder` is the bi-encoder by whose vectors negatives are found; "" is the base itself, which
    then must be one. A base that is a cross-encoder is trained on.
    """

    layers: bases.Layers = "all"
    freeze_embeddings: bool = True
    articles: tuple[str, ...] = ("title",)
    passages: int = Field(400, ge=2)
    queries: int = Field(600, ge=1)
    negatives: int = Field(6, ge=1)
    hardest: int = Field(30, ge=1)
    margin: float = Field(0.03, ge=0)
    cropped: float = Field(0.5, ge=0, le=1)
    longest_crop: int = Field(250, ge=8)
    listwise: float = Field(1.0, ge=0)
    bce: float = Field(0.5, ge=0)
    distillation: float = Field(1.0, ge=0)
    teacher: str = NO_TEACHER
    encoder: str = ""

    @property
    def teacher_weight(self) -> float:
        """Of the loss's part that compares with the teacher; 0 without one."""
        return 0.0 if self.teacher == NO_TEACHER else self.distillation


def prepare(job: Job) -> Prepared:
    """Lists of the recipe's split by query, from labelled folders."""
    options, training = read_options(job.recipe, Options), job.recipe.training
    samples = [_sample(path, options, training.seed) for path in job.collections]
    vectors = _vectors(_finder(job, options), samples)
    choice = Choice(
        negatives=options.negatives,
        rank_max=max(options.hardest, options.negatives),
        margin=-options.margin,
        pick="random",
        seed=training.seed,
    )
    mined = [
        row
        for sample, encoded in zip(samples, vectors, strict=True)
        for row in mine("mixed", sample, choice, encoded).rows
    ]
    parts = split([(row.query, row) for row in mined], training)
    test = judged_candidates(samples, vectors, lambda query: part_of(query, training) == "test")
    model = bases.load_cross_encoder(job, freeze_embeddings=options.freeze_embeddings)
    transformer = bases.transformer_of(model, job)
    bases.keep_layers(transformer, options.layers)
    bases.revive_pooler(transformer)
    rows = {part: _rows(job, options, parts[part], _counter(model)) for part in PARTS[:2]}
    pairs = sum(len(row["passages"]) for row in rows["train"])
    loss = RankedListLoss(
        model,
        listwise=options.listwise,
        bce=options.bce,
        teacher=options.teacher_weight,
        pos_weight=pairs / max(1, len(rows["train"])) - 1,
        at_once=_PAIRS_ON_A_CPU if job.device == "cpu" else 0,
    )
    return Prepared(
        model=model,
        train=rows["train"],
        validation=rows["validation"],
        loss=loss,
        figures=lambda: list_figures(loss, test),
        data=describe(job.collections, [sample.queries for sample in samples]),
        arguments={"batch_sampler": LengthBuckets},
        save=bases.saver(model, job),
        notes=_notes(options, rows, pairs, len(test)),
    )


def _sample(path: Path, options: Options, seed: int) -> Examples:
    examples = from_collection(open_collection(path), article_of=_first_article(options.articles))
    return sample_examples(examples, passages=options.passages, queries=options.queries, seed=seed)


def _first_article(specs: Sequence[str]) -> ArticleOf:
    keys = [article_key(spec) for spec in specs]

    def article_of(document: Document) -> str | None:
        return next((name for key in keys if (name := key(document)) is not None), None)

    return article_of


def _finder(job: Job, options: Options) -> Job:
    """The job with the bi-encoder in the base's place that finds the negatives.

    Raises `ModelSourceError` where neither is one.
    """
    if not options.encoder:
        if kind_of(job.base) == "cross-encoder":
            raise ModelSourceError(
                f"{job.recipe.base} is a cross-encoder: name the bi-encoder by whose vectors "
                "negatives are found in options.encoder"
            )
        return job
    settings = job.settings or Settings()
    model = prepare_model(
        options.encoder, "bi-encoder", cache_dir=settings.cache_dir, offline=settings.hub_offline
    )
    recipe = job.recipe.model_copy(update={"base": options.encoder})
    return replace(job, recipe=recipe, base=model.folder)


def _vectors(job: Job, samples: Sequence[Examples]) -> list[tuple[Vectors, Vectors]]:
    """Of each sample's queries and passages, by the base as it was; kept beside the folder."""
    model = bases.load_bi_encoder(job)
    sha256 = open_folder(job.base, "bi-encoder").sha256
    identity = (sha256, model.max_seq_length, precision_of(job))
    folder = job.out.with_name(f"{job.out.name}.vectors")

    def encoder(prefix: str) -> Callable[[Sequence[str]], Vectors]:
        def encode_texts(texts: Sequence[str]) -> Vectors:
            with autocast(job):
                found = bases.encode(model, [prefix + text for text in texts])
            # Rounded to 16 bits they would not have unit length.
            unit: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
            return unit

        return kept(encode_texts, folder, repr((prefix, *identity)))

    query, passage = (encoder(prefix) for prefix in bases.base_prefixes(job))
    return [(query(sample.queries), passage(sample.passages)) for sample in samples]


def _counter(model: CrossEncoder) -> TokenCounter:
    def count(texts: Sequence[str]) -> list[int]:
        found = model.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]

    return count


def _rows(
    job: Job, options: Options, mined: Sequence[TrainingRow], count_tokens: TokenCounter
) -> Dataset:
    """Lists with the right passage first. The teacher judges passages before they are cropped."""
    lists = [(row.query, [*row.positives, *row.negatives]) for row in mined]
    columns: dict[str, list[object]] = {"query": [query for query, _passages in lists]}
    columns["passages"] = []
    for query, passages in lists:
        rng = random.Random(f"{job.recipe.training.seed}:{query}:{passages[0]}")  # noqa: S311
        if rng.random() < options.cropped:
            passages = crop_alike(  # noqa: PLW2901
                query, passages, rng, count_tokens, longest=options.longest_crop
            )
        columns["passages"].append(passages)
    if options.teacher_weight:
        columns["teacher"] = list(teacher_logits(job, options.teacher, lists))
    columns["label"] = [[1.0] + [0.0] * (len(passages) - 1) for _query, passages in lists]
    return Dataset.from_dict(columns)


def _notes(
    options: Options, rows: Mapping[Part, Dataset], pairs: int, test: int
) -> tuple[str, ...]:
    told = "" if not options.teacher_weight else f" The teacher is {options.teacher}."
    return (
        f"Of each collection at most {options.passages} passages in blocks of {BLOCK}, and "
        f"{options.queries} of the queries they answer: {len(rows['train'])} lists of {pairs} "
        f"pairs to train, {len(rows['validation'])} to validate, {test} queries to test.",
        "Negatives are drawn in turn from the base's nearest passages, BM25's, siblings of the "
        f"right one, and anywhere; {options.cropped:.0%} of the lists are cropped.{told}",
        f"Figures are of each test query's nearest {CANDIDATES} passages of its own sample.",
    )
