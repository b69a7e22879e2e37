"""Smart binary: to each positive one hard negative (related) and one easy one (irrelevant).

A bi-encoder is fitted to a field with the multiple-negatives ranking loss (Henderson et al.,
*Efficient Natural Language Response Suggestion for Smart Reply*, 2017) over three-level labels, and
judged by whether the correct document comes first among its query's correct, related and irrelevant
ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset
from pydantic import BaseModel, Field
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from service.datasets import (
    Collection,
    LevelledCollection,
    LevelledQuery,
    TrainingRow,
    article_key,
    derive_levels,
    levels_from_grades,
    open_labels,
)
from service.datasets.labels import text_id
from service.datasets.levels import CORRECT
from service.datasets.split import joined
from service.errors import InvalidInputError
from service.evaluation.measures import level_figures, passage_ids, rank_levels
from service.text.normalizer import clean
from service.training.bases import base_prefixes, encode, load_bi_encoder, saver
from service.training.batch_texts import passage_text, prefixed
from service.training.label_rows import dataset, describe, most, read_options, split
from service.training.mining.compose import mine_smart
from service.training.system import Job, Prepared
from service.types import Document


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `article` tells which documents are siblings where judgements have one grade only, as
    `service.datasets.article_key` reads it; `irrelevant` is how many documents of other articles
    stand beside them. `most_queries` bounds the queries to train on; 0 takes all.
    """

    article: str = "title"
    irrelevant: int = Field(4, ge=1)
    freeze_embeddings: bool = False
    most_queries: int = Field(0, ge=0)


def prepare(job: Job) -> Prepared:
    """Rows (anchor, positive, hard negative, easy negative) of the recipe's split.

    Collections are three-level JSON lines, rows whose first negative is hard and whose others are
    easy, or BEIR folders: with grades 2, 1, 0, or with articles to derive the levels from.
    """
    options, training = read_options(job.recipe, Options), job.recipe.training
    levelled = [read_levelled(path, options, training.seed) for path in job.collections]
    pooled = _pooled(levelled) if len(levelled) > 1 else levelled[0]
    parts = split(zip(_groups(pooled.queries), pooled.queries, strict=True), training)
    parts["train"] = most(
        parts["train"], options.most_queries, lambda query: query.query_id, training.seed
    )
    model = load_bi_encoder(job, freeze_embeddings=options.freeze_embeddings)
    prefixes = base_prefixes(job)
    sizes = [len(q.correct) + len(q.related) + len(q.irrelevant) for q in parts["test"]]
    return Prepared(
        model=model,
        train=_rows(pooled, parts["train"], prefixes, training.seed),
        validation=_rows(pooled, parts["validation"], prefixes, training.seed),
        loss=MultipleNegativesRankingLoss(model),
        figures=lambda: _figures(model, replace(pooled, queries=parts["test"]), prefixes),
        data=describe(job.collections, [collection.queries for collection in levelled]),
        save=saver(model, job),
        notes=(
            "Split such that queries with a right or related document in common, directly or "
            f"through others, stand in one part: {len(parts['train'])} queries to train, "
            f"{len(parts['validation'])} to validate, {len(parts['test'])} to test.",
            "A row is a query, a right passage, one related passage (hard) and one irrelevant "
            "passage (easy), both drawn at random.",
            f"Test candidates: {sum(sizes) / max(1, len(sizes)):.1f} a query on the mean.",
        ),
    )


def read_levelled(path: Path, options: Options, seed: int) -> LevelledCollection:
    """Three levels of whatever kind of labels is there. Raises `InvalidInputError`."""
    labels = open_labels(path)
    if isinstance(labels, LevelledCollection):
        return labels
    if isinstance(labels, Collection):
        grades = (grade for judged in labels.qrels.values() for grade in judged.values())
        if max(grades, default=0) >= CORRECT:
            return levels_from_grades(labels)
        article = article_key(options.article)
        return derive_levels(labels, article, irrelevant=options.irrelevant, seed=seed)
    rows = [row for row in labels if isinstance(row, TrainingRow)]
    if len(rows) < len(labels):
        raise InvalidInputError(f"{path}: labelled pairs have no levels", "collection")
    return _from_rows(path, rows)


def _from_rows(path: Path, rows: Sequence[TrainingRow]) -> LevelledCollection:
    """Rows as `mine` composes them: the first negative is hard, the others are easy."""
    documents: dict[str, Document] = {}

    def ids(texts: Sequence[str]) -> tuple[str, ...]:
        found = [Document(text_id(text), text) for text in texts]
        documents.update((document.id, document) for document in found)
        return tuple(document.id for document in found)

    queries = [
        LevelledQuery(
            str(number), row.query, *map(ids, (row.positives, row.negatives[:1], row.negatives[1:]))
        )
        for number, row in enumerate(rows, 1)
        if len(row.negatives) > 1
    ]
    if not queries:
        raise InvalidInputError(f"{path}: no row has two negatives", "neg")
    return LevelledCollection(path.stem, documents, queries)


def _pooled(collections: Sequence[LevelledCollection]) -> LevelledCollection:
    """All in one; ids get their collection's number before them, as they may be the same."""
    documents: dict[str, Document] = {}
    queries: list[LevelledQuery] = []
    for number, collection in enumerate(collections):

        def own(ids: Sequence[str], number: int = number) -> tuple[str, ...]:
            return tuple(f"{number}/{id_}" for id_ in ids)

        documents |= {f"{number}/{id_}": found for id_, found in collection.documents.items()}
        queries += [
            LevelledQuery(
                f"{number}/{q.query_id}", q.query, own(q.correct), own(q.related), own(q.irrelevant)
            )
            for q in collection.queries
        ]
    return LevelledCollection("+".join(c.name for c in collections), documents, queries)


def _groups(queries: Sequence[LevelledQuery]) -> list[str]:
    """Each query's group, named by a document: right and related documents and text join them."""
    members = [
        [(0, id_) for id_ in (*query.correct, *query.related)] + [(1, clean(query.query))]
        for query in queries
    ]
    groups = joined(members)
    return [groups[first][1] for first, *_ in members]


def _rows(
    levelled: LevelledCollection,
    queries: Sequence[LevelledQuery],
    prefixes: tuple[str, str],
    seed: int,
) -> Dataset:
    query, passage = prefixes
    mined = mine_smart(replace(levelled, queries=list(queries)), seed=seed).rows
    return dataset(
        ("anchor", "positive", "hard_negative", "easy_negative"),
        [
            [
                prefixed(row.query, query),
                *(prefixed(text, passage) for text in (*row.positives, *row.negatives)),
            ]
            for row in mined
        ],
    )


def _figures(
    model: SentenceTransformer, test: LevelledCollection, prefixes: tuple[str, str]
) -> Mapping[str, float]:
    if not test.queries:
        return {}
    ids = passage_ids(test)
    texts = [prefixed(passage_text(test.documents[id_]), prefixes[1]) for id_ in ids]
    passages = dict(zip(ids, encode(model, texts), strict=True))
    queries = encode(model, [prefixed(query.query, prefixes[0]) for query in test.queries])
    return level_figures(test.queries, rank_levels(test.queries, queries, passages))
