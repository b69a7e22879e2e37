"""What is mined: queries, distinct passages, and which passages are right for which query."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from service.datasets import (
    Collection,
    Labels,
    LevelledCollection,
    TrainingRow,
    article_key,
    derive_levels,
    graded,
    levels_from_grades,
)
from service.datasets.levels import CORRECT
from service.datasets.problems import read_rows, stop
from service.documents.rows import MAX_CHARS, check_filled, check_text
from service.errors import InvalidInputError
from service.text.normalizer import clean
from service.training.batch_texts import passage_text, without_prefix
from service.training.label_rows import most
from service.types import Document

ArticleOf = Callable[[Document], str | None]


@dataclass(frozen=True, slots=True)
class Examples:
    """Queries and passages, each text once.

    `positives[i]` are the places in `passages` of what is right for `queries[i]`, ascending and
    never empty. `articles[j]` names the articles that passage j is in; empty where nothing is
    known of articles. `copies` counts the documents whose text another one has too.
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    positives: tuple[tuple[int, ...], ...]
    articles: tuple[frozenset[str], ...]
    copies: int = 0

    def only(self, kept: Iterable[int]) -> "Examples":
        places = list(kept)
        return replace(
            self,
            queries=tuple(self.queries[place] for place in places),
            positives=tuple(self.positives[place] for place in places),
        )

    def answered_by(self) -> dict[int, list[int]]:
        """Place of a passage -> the places of the queries that it is right for, ascending."""
        answered: dict[int, list[int]] = defaultdict(list)
        for query, places in enumerate(self.positives):
            for place in places:
                answered[place].append(query)
        return dict(answered)


def from_collection(
    collection: Collection, *, article_of: ArticleOf | None = None, min_grade: int = 1
) -> Examples:
    """The judged queries of a collection and all its documents.

    What has a grade of at least `min_grade` is right; texts of which cleaning leaves nothing are
    passed over. Raises `InvalidInputError` where no query has such a document.
    """
    texts = {document.id: passage_text(document) for document in collection.documents}
    articles: dict[str, set[str]] = defaultdict(set)
    for document in collection.documents:
        key = article_of(document) if article_of else None
        if key is not None:
            articles[texts[document.id]].add(key)
    right = (
        (
            without_prefix(collection.queries[query]),
            [texts[d] for d, g in grades.items() if g >= min_grade],
        )
        for query, grades in collection.qrels.items()
    )
    return _examples(collection.name, texts.values(), right, articles)


def from_rows(name: str, rows: Sequence[TrainingRow]) -> Examples:
    """The queries of training rows; the passages are all their positives and negatives."""
    passages = (without_prefix(t) for row in rows for t in (*row.positives, *row.negatives))
    right = (
        (without_prefix(row.query), [without_prefix(t) for t in row.positives]) for row in rows
    )
    return _examples(name, passages, right, {})


def _examples(
    name: str,
    texts: Iterable[str],
    right: Iterable[tuple[str, Sequence[str]]],
    articles: Mapping[str, set[str]],
) -> Examples:
    place: dict[str, int] = {}
    total = 0
    for text in filter(None, texts):
        total += 1
        place.setdefault(text, len(place))
    positives: dict[str, set[int]] = defaultdict(set)
    for query, answers in right:
        found = {place[text] for text in answers if text}
        if query and found:
            # A query asked twice has the right passages of both, so that none of them is ever
            # taken for wrong.
            positives[query] |= found
    if not positives:
        raise InvalidInputError(f"{name}: no query has a right document")
    return Examples(
        name,
        tuple(positives),
        tuple(place),
        tuple(tuple(sorted(places)) for places in positives.values()),
        tuple(frozenset(articles.get(text, ())) for text in place),
        total - len(place),
    )


BLOCK = 20
"""Neighbouring passages that are drawn together: siblings mostly stand side by side in a file."""


def sample_examples(examples: Examples, *, passages: int, queries: int, seed: int) -> Examples:
    """About `passages` passages in blocks of neighbours, and at most `queries` of their queries.

    A query is kept where all that is right for it was drawn. Blocks and queries are drawn by hash
    and seed. Raises `InvalidInputError` where no query is left.
    """
    drawn: list[int] = []
    blocks = range(0, len(examples.passages), BLOCK)
    for start in sorted(blocks, key=lambda b: hashlib.sha256(f"{seed}\0{b}".encode()).digest()):
        drawn += range(start, min(start + BLOCK, len(examples.passages)))
        if len(drawn) >= passages:
            break
    drawn.sort()
    place = {old: new for new, old in enumerate(drawn)}
    answered = [
        (query, tuple(place[p] for p in right))
        for query, right in zip(examples.queries, examples.positives, strict=True)
        if all(p in place for p in right)
    ]
    if not answered:
        raise InvalidInputError(
            f"{examples.name}: none of its queries has all its right passages among the "
            f"{len(drawn)} that were drawn; raise options.passages",
            "options.passages",
        )
    chosen = most(answered, queries, lambda row: row[0], seed)
    return replace(
        examples,
        queries=tuple(query for query, _right in chosen),
        positives=tuple(right for _query, right in chosen),
        passages=tuple(examples.passages[old] for old in drawn),
        articles=tuple(examples.articles[old] for old in drawn),
    )


def examples_of(
    name: str, labels: Labels, *, article: str | None = None, min_grade: int = 1
) -> Examples:
    """Queries, passages and what is right; `article` is as for `article_key`.

    In levels, *correct* is right. Raises `InvalidInputError` for pairs, which say nothing of what
    answers what, and for an `article` of rows, which have none.
    """
    if isinstance(labels, LevelledCollection):
        labels, min_grade = graded(labels), CORRECT
    if isinstance(labels, Collection):
        article_of = article_key(article) if article else None
        return from_collection(labels, article_of=article_of, min_grade=min_grade)
    if article:
        raise InvalidInputError(f"{name}: rows belong to no article", "article")
    rows = [row for row in labels if isinstance(row, TrainingRow)]
    if len(rows) < len(labels):
        raise InvalidInputError(f"{name}: negatives are mined for rows, not for pairs", "path")
    return from_rows(name, rows)


def levels_of(
    name: str, labels: Labels, *, article: str | None = None, seed: int = 0
) -> LevelledCollection:
    """The three-level set that the labels are, or that their grades or articles make.

    Raises `InvalidInputError` where they make none.
    """
    if isinstance(labels, LevelledCollection):
        return labels
    if not isinstance(labels, Collection):
        raise InvalidInputError(f"{name}: rows and pairs have no levels", "path")
    if article:
        return derive_levels(labels, article_key(article), seed=seed)
    try:
        return levels_from_grades(labels)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error}; say what names a document's article with --article, so that its siblings "
            "are the related ones",
            "article",
        ) from error


QueryFor = Callable[[str], str | None]
"""A passage's text, as in `Examples.passages` -> a query that it answers; None for none."""


class OwnQueries:
    """Queries that passages answer: labelled ones first, else what `query_for` says.

    Of several labelled ones, a seeded draw takes one, always the same for a passage and a query.
    """

    def __init__(self, examples: Examples, query_for: QueryFor | None, seed: int) -> None:
        self._examples, self._seed = examples, seed
        self._query_for = cache(query_for) if query_for else None
        self._answered = examples.answered_by()

    def of(self, place: int, query: int) -> str | None:
        """A query other than `query` that the passage at `place` answers; None for none."""
        labelled = [other for other in self._answered.get(place, ()) if other != query]
        if labelled:
            seed = f"{self._seed}:{self._examples.passages[place]}:{query}"
            draw = random.Random(seed)  # noqa: S311
            return self._examples.queries[draw.choice(labelled)]
        asked = self._query_for(self._examples.passages[place]) if self._query_for else None
        return None if asked == self._examples.queries[query] else asked


def read_queries(path: Path, labels: Labels) -> QueryFor:
    """Queries from JSON lines `{"_id", "query"}`: a document's id and a query that it answers.

    The file may come from a language model, a log of searches, or people. Where a
    document has several lines the first one counts. Raises `InvalidInputError` with file, line and
    field, and for labels whose documents have no ids.
    """
    if isinstance(labels, list):
        raise InvalidInputError("rows have no document ids to name queries for", "queries_of")
    documents = labels.documents if isinstance(labels, Collection) else labels.documents.values()
    passages = {document.id: passage_text(document) for document in documents}
    known: dict[str, str] = {}

    def passage_and_query(row: dict[str, Any]) -> tuple[str, str]:
        if row.get("_id") not in passages:
            raise InvalidInputError(f"no document has the id {row.get('_id')!r}", "_id")
        query = clean(check_text(row.get("query"), "query", MAX_CHARS))
        return passages[row["_id"]], check_filled(query, "query", MAX_CHARS)

    for passage, query in read_rows(path, passage_and_query, MAX_CHARS, stop):
        known.setdefault(passage, query)
    return known.get
