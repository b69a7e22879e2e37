"""Three-level sets: for each query, documents that are correct, related or irrelevant.

A *correct* document answers the query, a *related* one is about the same matter without answering
it, an *irrelevant* one does neither. They come from graded judgements (2, 1, 0), from JSON lines,
or from an ordinary collection whose documents are paragraphs of articles: the other paragraphs of
an article are related.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from service.datasets.labels import Collection, text_id, titled_text
from service.datasets.problems import OnProblem, existing, stop, unique
from service.documents.lines import Numbered, parsed, read_json_lines, shown
from service.documents.rows import (
    MAX_CHARS,
    check_filled,
    check_id,
    check_texts,
    composed,
    required,
)
from service.durable import write_json_lines
from service.errors import InvalidInputError
from service.types import Document, Refused

CORRECT, RELATED, IRRELEVANT = 2, 1, 0
_LEVELS = ("correct", "related", "irrelevant")

ArticleOf = Callable[[Document], str | None]
"""A document's article; None if it has none."""


@dataclass(frozen=True, slots=True)
class LevelledQuery:
    """A query with document ids by level; no id is at two levels, `correct` is not empty."""

    query_id: str
    query: str
    correct: tuple[str, ...]
    related: tuple[str, ...]
    irrelevant: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LevelledCollection:
    """The documents by id, and the queries in a fixed order."""

    name: str
    documents: dict[str, Document]
    queries: list[LevelledQuery]


def levels_from_grades(collection: Collection) -> LevelledCollection:
    """Judgements of 2 and above are correct, 1 is related, 0 and below irrelevant.

    Queries without a correct document are left out. Raises `InvalidInputError` if none is left, as
    with a collection whose right answers have grade 1: for these, see `derive_levels`.
    """
    queries = []
    for query_id, grades in sorted(collection.qrels.items()):
        levels: dict[int, list[str]] = {CORRECT: [], RELATED: [], IRRELEVANT: []}
        for document, grade in sorted(grades.items()):
            levels[max(IRRELEVANT, min(grade, CORRECT))].append(document)
        if levels[CORRECT]:
            ids = map(tuple, levels.values())
            queries.append(LevelledQuery(query_id, collection.queries[query_id], *ids))
    if not queries:
        raise InvalidInputError(f"{collection.name}: no judgement of grade 2", "score")
    return LevelledCollection(collection.name, _by_id(collection.documents), queries)


def derive_levels(
    collection: Collection,
    article_of: ArticleOf,
    *,
    irrelevant: int = 4,
    max_related: int | None = None,
    seed: int = 0,
) -> LevelledCollection:
    """Siblings of a query's right documents are related; others are drawn from other articles.

    Documents judged above 0 are correct. `related` are the other documents of their articles, all
    of them or `max_related` drawn at random. `irrelevant` counts the documents drawn from other
    articles. Neither has the text of a correct document. The draw depends only on `seed` and the
    query's id. Queries without a related document are left out. Raises `InvalidInputError` if none
    is left.
    """
    articles = _Articles(collection.documents, article_of)
    queries = []
    for query_id, grades in sorted(collection.qrels.items()):
        correct = sorted(document for document, grade in grades.items() if grade > 0)
        related = articles.siblings(correct)
        if not correct or not related:
            continue
        draw = random.Random(f"{seed}:{query_id}")  # noqa: S311
        if max_related is not None and len(related) > max_related:
            related = sorted(draw.sample(related, max_related))
        levels = (correct, related, articles.strangers(correct, irrelevant, draw))
        query = collection.queries[query_id]
        queries.append(LevelledQuery(query_id, query, *map(tuple, levels)))
    if not queries:
        raise InvalidInputError(
            f"{collection.name}: no right document has a sibling in its article; if its documents "
            "have no titles, say which ids form an article (id:REGEX)",
            "article",
        )
    return LevelledCollection(collection.name, articles.documents, queries)


def article_key(spec: str) -> ArticleOf:
    """How to tell a document's article: `title`, `metadata:FIELD` or `id:PATTERN`.

    The pattern is a regular expression that is searched in the id; the article is its first group,
    or the whole match if it has no group: `id:^(.*)-[^-]+$` for ids `article-section`. A document
    without the title, field or match is its own article. Raises `InvalidInputError`.
    """
    if spec == "title":
        return lambda document: composed(document.title.strip()) or None
    kind, _, value = spec.partition(":")
    if kind == "metadata" and value:
        return lambda document: _metadata_key(document, value)
    if kind == "id" and value:
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise InvalidInputError(f"article {spec!r}: {error}", "article") from error
        return lambda document: _match_key(pattern, document.id)
    raise InvalidInputError(
        f"article {spec!r}: must be title, id:PATTERN or metadata:FIELD", "article"
    )


def read_levels(
    path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> LevelledCollection:
    """JSON lines `{"query", "correct": [...], "related": [...], "irrelevant": [...], "_id"?}`.

    The lists hold texts; equal texts are one document. The id of a query without `_id` is its line
    number. Raises `InvalidInputError` for a file without queries. For the first wrong line (file,
    line and field) it raises too, unless `on_problem` takes such lines.
    """
    documents: dict[str, Document] = {}

    def read(path: Path) -> Numbered[LevelledQuery]:
        rows = read_json_lines(path, max_chars)
        named = ((n, r if isinstance(r, Refused) else {"_id": n, **r}) for n, r in rows)
        return parsed(path, named, lambda row: _query(row, documents, max_chars))

    queries = unique([existing(path)], read, attrgetter("query_id"), on_problem)
    if not queries:
        raise InvalidInputError(f"{shown(path)}: no queries")
    return LevelledCollection(path.stem, documents, list(queries.values()))


def write_levels(path: Path, levelled: LevelledCollection) -> int:
    """Write what `read_levels` reads, titles before their texts; returns the number of queries."""
    texts = {id_: titled_text(document) for id_, document in levelled.documents.items()}
    return write_json_lines(
        path,
        (
            {"_id": query.query_id, "query": query.query}
            | {level: [texts[id_] for id_ in getattr(query, level)] for level in _LEVELS}
            for query in levelled.queries
        ),
    )


def graded(levelled: LevelledCollection) -> Collection:
    """The same as a collection with grades 2, 1 and 0, to be written as a BEIR folder."""
    grades = dict(zip(_LEVELS, (CORRECT, RELATED, IRRELEVANT), strict=True))
    qrels = {
        query.query_id: {
            id_: grade for level, grade in grades.items() for id_ in getattr(query, level)
        }
        for query in levelled.queries
    }
    queries = {query.query_id: query.query for query in levelled.queries}
    return Collection(levelled.name, list(levelled.documents.values()), queries, qrels)


class _Articles:
    """Which documents share an article, and which belong to other articles."""

    def __init__(self, documents: Sequence[Document], article_of: ArticleOf) -> None:
        self.documents = _by_id(documents)
        self._ids = sorted(self.documents)
        self._article = {id_: article_of(document) for id_, document in self.documents.items()}
        self._copies = Counter(document.text for document in documents)
        self._members: dict[str, list[str]] = defaultdict(list)
        for id_ in self._ids:
            if (key := self._article[id_]) is not None:
                self._members[key].append(id_)

    def siblings(self, ids: Sequence[str]) -> list[str]:
        """The other documents of the articles of `ids`, ascending, without copies of `ids`."""
        texts = self._texts(ids)
        members = (id_ for key in self._keys(ids) for id_ in self._members[key])
        return sorted(i for i in members if i not in ids and self.documents[i].text not in texts)

    def strangers(self, ids: Sequence[str], count: int, draw: random.Random) -> list[str]:
        """`count` documents of other articles, or all where there are fewer, ascending."""
        keys, texts = self._keys(ids), self._texts(ids)
        # Enough are drawn even if all unfit ones are among them.
        unfit = sum(len(self._members[key]) for key in keys)
        unfit += sum(self._copies[text] for text in texts)
        drawn = draw.sample(self._ids, min(len(self._ids), count + unfit))
        fit = [
            id_
            for id_ in drawn
            if self._article[id_] not in keys and self.documents[id_].text not in texts
        ]
        return sorted(fit[:count])

    def _keys(self, ids: Sequence[str]) -> set[str]:
        return {key for id_ in ids if (key := self._article[id_]) is not None}

    def _texts(self, ids: Sequence[str]) -> set[str]:
        return {self.documents[id_].text for id_ in ids}


def _by_id(documents: Iterable[Document]) -> dict[str, Document]:
    return {document.id: document for document in documents}


def _metadata_key(document: Document, field: str) -> str | None:
    named = {composed(name): value for name, value in document.metadata.items()}
    value = named.get(composed(field))
    return None if value in (None, "") else composed(str(value))


def _match_key(pattern: re.Pattern[str], id_: str) -> str | None:
    match = pattern.search(id_)
    return None if match is None else match[1 if pattern.groups else 0] or None


def _query(row: Mapping[str, Any], documents: dict[str, Document], max_chars: int) -> LevelledQuery:
    query_id = check_id(row["_id"], "_id")
    query = check_filled(required(row, "query"), "query", max_chars)
    seen: dict[str, str] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for level in _LEVELS:
        texts = check_texts(row.get(level, []), level, max_chars)
        levels[level] = tuple(map(text_id, texts))
        for place, (id_, text) in enumerate(zip(levels[level], texts, strict=True)):
            field = f"{level}[{place}]"
            if id_ in seen:
                raise InvalidInputError(f"is the same text as {seen[id_]}", field)
            seen[id_] = field
            documents.setdefault(id_, Document(id_, text))
    if not levels["correct"]:
        raise InvalidInputError("must have at least one text", "correct")
    return LevelledQuery(query_id, query, **levels)
