"""A bi-encoder for retrieval: ANCE negatives, contrastive learning penalty, mixture of experts.

The method of Jeongsu Yu, "Efficient fine-tuning methodology of text embedding models for
information retrieval: contrastive learning penalty (CLP)", https://arxiv.org/abs/2412.17364. Each
of its parts is an option: the same recipe without one of them shows what that part does.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field
from sentence_transformers import SentenceTransformer

from service.datasets import TrainingRow, open_collection, read_training_rows
from service.encoder.moe import add_experts, intermediate_layers
from service.errors import InvalidInputError
from service.training.ance import AnceRefresh, Groups
from service.training.arguments import autocast
from service.training.bases import base_prefixes, encode, load_bi_encoder, saver, transformer_of
from service.training.batch_texts import prefixed, without_prefix
from service.training.label_rows import Part, describe, most, read_options, split
from service.training.list_figures import retrieval_figures
from service.training.losses.clp import ContrastiveLearningPenaltyLoss
from service.training.mining import Choice, Examples, from_collection, from_rows, mine
from service.training.mining.rankings import Encode
from service.training.system import Job, Prepared

MEASURE = "ndcg@5"


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `negatives`: `ance`, the nearest wrong passages by the current model, drawn from ranks
    `rank_min` to `rank_max` and mined again every `refresh_every` optimizer steps (0: after each
    epoch), or `random`. With a `margin`, passages that score above the positive less the margin
    are left out. `loss`: `clp`, or `infonce` without the penalty. `train`: the `intermediate`
    layers alone, or `all`. `experts` in each of them; 0 leaves them single. `most_queries` bounds
    the queries to train on; 0 takes all.
    """

    negatives: Literal["random", "ance"] = "ance"
    loss: Literal["infonce", "clp"] = "clp"
    train: Literal["all", "intermediate"] = "intermediate"
    experts: int = Field(2, ge=0, le=64)
    experts_per_token: int = Field(1, ge=1)
    negatives_per_query: int = Field(4, ge=1)
    temperature: float = Field(0.02, gt=0)
    penalty: float = Field(0.1, gt=0, le=1)
    rank_min: int = Field(1, ge=1)
    rank_max: int = Field(100, ge=1)
    margin: float | None = None
    refresh_every: int = Field(0, ge=0)
    freeze_embeddings: bool = False
    most_queries: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True)
class _Source:
    """A collection; `given` are the rows of a file that brings its negatives with it."""

    examples: Examples
    given: tuple[TrainingRow, ...] = ()

    def only(self, queries: Set[str]) -> "_Source":
        kept = [n for n, query in enumerate(self.examples.queries) if query in queries]
        given = tuple(row for row in self.given if row.query in queries)
        return _Source(self.examples.only(kept), given)


def prepare(job: Job) -> Prepared:
    """Groups of a query, its positive and its negatives, by the recipe's split of the queries.

    Collections are BEIR folders, whose documents are all candidates, or files of training rows,
    whose positives and negatives are. A file's own negatives are the first ones of `ance`, for each
    row that has enough of them, and with `clp` a query of the same part for each. For `clp` only
    passages become negatives that another query of the part is labelled with; validation, which
    alone has few, takes the queries to train on too.
    """
    options, training = read_options(job.recipe, Options), job.recipe.training
    sources = [_read(path) for path in job.collections]
    keys = [(n, query) for n, source in enumerate(sources) for query in source.examples.queries]
    parts = split([(query, (n, query)) for n, query in keys], training)
    parts["train"] = most(parts["train"], options.most_queries, repr, training.seed)
    model, prefixes = _model(job, options), base_prefixes(job)
    negatives = _Negatives(model, prefixes, options, job)
    to_train = _of(sources, parts["train"])
    to_validate = _of(sources, [*parts["train"], *parts["validation"]])

    def groups(seen: Sequence[_Source], part: Sequence[tuple[int, str]]) -> Groups:
        """The part's rows, with negatives and their queries from all that may be seen."""
        queries = {query for _, query in part}
        rows = (row for source in seen if part for row in negatives.first(source))
        kept = (row for row in rows if row.query in queries)
        return Groups(kept, prefixes, with_queries=options.loss == "clp")

    train = groups(to_train, parts["train"])
    validation = groups(to_validate, parts["validation"])
    if not train.rows:
        raise InvalidInputError(
            f"no query has {options.negatives_per_query} negatives to be trained with: give more "
            "labels, or fewer options.negatives_per_query",
            "collection",
        )

    def mined() -> list[TrainingRow]:
        return [row for source in to_train for row in negatives.mined(source.examples)]

    refresh = AnceRefresh(train, mined, options.refresh_every)
    return Prepared(
        model=model,
        train=train.dataset(),
        validation=validation.dataset() if validation.rows else train.dataset().select([]),
        loss=ContrastiveLearningPenaltyLoss(
            model, options.temperature, options.penalty if options.loss == "clp" else 0.0
        ),
        figures=lambda: retrieval_figures(
            [source.examples for source in _of(sources, parts["test"])],
            _encoder(model, prefixes[0]),
            _encoder(model, prefixes[1]),
            MEASURE,
        ),
        data=describe(job.collections, [source.examples.queries for source in sources]),
        callbacks=[refresh] if options.negatives == "ance" else [],
        save=saver(model, job),
        notes=_notes(options, parts, train, validation),
    )


class _Negatives:
    def __init__(
        self, model: SentenceTransformer, prefixes: tuple[str, str], options: Options, job: Job
    ) -> None:
        self._model, self._options, self._job = model, options, job
        self._queries, self._passages = (_encoder(model, prefix) for prefix in prefixes)
        self._choice = Choice(
            negatives=options.negatives_per_query,
            rank_min=options.rank_min,
            rank_max=options.rank_max,
            margin=options.margin,
            pick="random",
            complete=True,
            negative_queries=options.loss == "clp",
            seed=job.recipe.training.seed,
        )

    def first(self, source: _Source) -> list[TrainingRow]:
        if self._options.negatives == "random":
            everywhere = replace(self._choice, rank_min=1, rank_max=len(source.examples.passages))
            return mine("random", source.examples, everywhere).rows
        known = set(source.examples.queries)
        given = [row for row in map(self._cut, source.given) if self._is_usable(row, known)]
        if given and len(given) == len(source.given):
            return given
        kept = {(row.query, row.positives) for row in given}
        mined = self.mined(source.examples)
        return given + [row for row in mined if (row.query, row.positives) not in kept]

    def mined(self, examples: Examples) -> list[TrainingRow]:
        if not examples.queries:
            return []
        was_training = self._model.training
        with autocast(self._job):
            vectors = self._queries(examples.queries), self._passages(examples.passages)
        self._model.train(was_training)
        return mine("dense", examples, self._choice, vectors).rows

    def _cut(self, row: TrainingRow) -> TrainingRow:
        count = self._choice.negatives
        return replace(
            row,
            positives=row.positives[:1],
            negatives=row.negatives[:count],
            negative_queries=row.negative_queries[:count],
        )

    def _is_usable(self, row: TrainingRow, known: set[str]) -> bool:
        """Whether it is complete, and no query in it is of another part."""
        count, own = self._choice.negatives, row.negative_queries
        if not (len(row.negatives) == count and all((*row.positives, *row.negatives))):
            return False
        return not self._choice.negative_queries or (len(own) == count and known.issuperset(own))


def _encoder(model: SentenceTransformer, prefix: str) -> Encode:
    return lambda texts: encode(model, [prefixed(text, prefix) for text in texts])


def _read(path: Path) -> _Source:
    if path.is_dir():
        return _Source(from_collection(open_collection(path)))
    rows = read_training_rows(path)
    return _Source(from_rows(path.stem, rows), tuple(map(_cleaned, rows)))


def _cleaned(row: TrainingRow) -> TrainingRow:
    texts = (row.positives, row.negatives, row.negative_queries)
    return TrainingRow(
        without_prefix(row.query), *(tuple(map(without_prefix, found)) for found in texts)
    )


def _of(sources: Sequence[_Source], keys: Iterable[tuple[int, str]]) -> list[_Source]:
    wanted: list[set[str]] = [set() for _ in sources]
    for number, query in keys:
        wanted[number].add(query)
    return [source.only(queries) for source, queries in zip(sources, wanted, strict=True)]


def _model(job: Job, options: Options) -> SentenceTransformer:
    model = load_bi_encoder(job)
    transformer_of(model, job)  # or no layer could be chosen
    if options.experts:
        seed = job.recipe.training.seed
        add_experts(model, options.experts, top_k=options.experts_per_token, seed=seed)
    if options.train == "intermediate":
        model.requires_grad_(False)
        for layer in intermediate_layers(model):
            layer.requires_grad_(True)
    if options.freeze_embeddings:
        transformer_of(model, job).get_input_embeddings().weight.requires_grad_(False)
    return model


def _notes(
    options: Options, parts: Mapping[Part, Sequence[object]], train: Groups, validation: Groups
) -> tuple[str, ...]:
    return (
        f"Split by query: {len(parts['train'])} to train, {len(parts['validation'])} to validate, "
        f"{len(parts['test'])} to test. {len(train.rows)} groups to train on, "
        f"{len(validation.rows)} to validate on: what found no "
        f"{options.negatives_per_query} negatives is left out.",
    )
