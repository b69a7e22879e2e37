"""Three-level sets: to each query documents that are correct, related or irrelevant.

*Correct* answers the query, *related* treats the same matter without answering it, *irrelevant*
does neither. They come from graded judgements (2, 1, 0), from JSON lines, or from an ordinary
collection whose documents are paragraphs of articles: a paragraph's siblings are related to it.
"""

import hashlib
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.datasets.labels import Collection
from service.datasets.problems import OnProblem, existing, stop
from service.documents.lines import read_json_lines, shown
from service.documents.rows import MAX_CHARS, check_id, check_text
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

    Queries without a correct document are left out. Raises `InvalidInputError` where none is left,
    as with a collection whose right answers have grade 1: see `derive_levels` for these.
    """
    queries = []
    for query_id, grades in sorted(collection.qrels.items()):
        levels: dict[int, list[str]] = {CORRECT: [], RELATED: [], IRRELEVANT: []}
        for document, grade in sorted(grades.items()):
            levels[max(IRRELEVANT, min(grade, CORRECT))].append(document)
        if levels[CORRECT]:
            queries.append(_levelled(query_id, collection.queries[query_id], levels))
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
    articles. Neither has the text of a correct document. The draw depends on `seed` and the query's
    id, not on any order. Queries without a related document are left out. Raises
    `InvalidInputError` where none is left.
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
        levels = {
            CORRECT: correct,
            RELATED: related,
            IRRELEVANT: articles.strangers(correct, irrelevant, draw),
        }
        queries.append(_levelled(query_id, collection.queries[query_id], levels))
    if not queries:
        raise InvalidInputError(
            f"{collection.name}: no right document has a sibling in its article; "
            "where its documents have no titles, say which ids stand together (id:REGEX)",
            "article",
        )
    return LevelledCollection(collection.name, articles.documents, queries)


def article_key(spec: str) -> ArticleOf:
    """How to tell a document's article: `title`, `metadata:FIELD` or `id:PATTERN`.

    The pattern is a regular expression that is searched in the id; the article is its first group,
    or the whole match where it has no group: `id:^(.*)-[^-]+$` for ids `article-section`. Where
    there is no title, field or match, the document is its own article. Raises `InvalidInputError`.
    """
    if spec == "title":
        return lambda document: _composed(document.title.strip()) or None
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


def is_levels(path: Path) -> bool:
    """Whether the first object of a file of JSON lines is a query with levels."""
    first = next((row for _, row in read_json_lines(existing(path), MAX_CHARS)), None)
    return isinstance(first, dict) and "correct" in first


def read_levels(
    path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> LevelledCollection:
    """JSON lines `{"query", "correct": [...], "related": [...], "irrelevant": [...], "_id"?}`.

    The lists hold texts; a document's id is made of its text, so that equal texts are one document.
    A query without `_id` has its line number as id. Raises `InvalidInputError` for a file without
    queries and, unless `on_problem` is told of them, for the first line that is wrong, with file,
    line and field.
    """
    documents: dict[str, Document] = {}
    queries: dict[str, LevelledQuery] = {}
    for number, row in read_json_lines(existing(path), max_chars):
        if isinstance(row, Refused):
            on_problem(row)
            continue
        try:
            query = _query(row, str(number), documents, max_chars)
            if query.query_id in queries:
                raise InvalidInputError(f"{query.query_id!r} is on an earlier line too", "_id")
        except InvalidInputError as error:
            on_problem(Refused(shown(path), number, error.field, str(error)))
        else:
            queries[query.query_id] = query
    if not queries:
        raise InvalidInputError(f"{shown(path)}: no queries")
    return LevelledCollection(path.stem, documents, list(queries.values()))


def write_levels(path: Path, levelled: LevelledCollection) -> int:
    """Write what `read_levels` reads, titles before their texts; returns the number of queries."""

    def texts(ids: Sequence[str]) -> list[str]:
        found = (levelled.documents[id_] for id_ in ids)
        return [f"{d.title} {d.text}" if d.title.strip() else d.text for d in found]

    return write_json_lines(
        path,
        (
            {"_id": query.query_id, "query": query.query}
            | {level: texts(getattr(query, level)) for level in _LEVELS}
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
    """Which documents stand in the article of others, and which stand elsewhere."""

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


def _levelled(query_id: str, query: str, levels: Mapping[int, Sequence[str]]) -> LevelledQuery:
    correct, related, irrelevant = (tuple(levels[g]) for g in (CORRECT, RELATED, IRRELEVANT))
    return LevelledQuery(query_id, query, correct, related, irrelevant)


def _by_id(documents: Iterable[Document]) -> dict[str, Document]:
    return {document.id: document for document in documents}


def _metadata_key(document: Document, field: str) -> str | None:
    named = {_composed(name): value for name, value in document.metadata.items()}
    value = named.get(_composed(field))
    return None if value in (None, "") else _composed(str(value))


def _composed(text: str) -> str:
    """Unicode's NFC, in which filters compare metadata too."""
    return unicodedata.normalize("NFC", text)


def _match_key(pattern: re.Pattern[str], id_: str) -> str | None:
    match = pattern.search(id_)
    return None if match is None else match[1 if pattern.groups else 0] or None


def _query(
    row: Mapping[str, Any], number: str, documents: dict[str, Document], max_chars: int
) -> LevelledQuery:
    query_id = check_id(row.get("_id", number), "_id")
    query = check_text(row.get("query"), "query", max_chars)
    if not query.strip():
        raise InvalidInputError("is empty", "query")
    seen: dict[str, str] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for level in _LEVELS:
        values = row.get(level, [])
        if not isinstance(values, list):
            raise InvalidInputError("must be a list of strings", level)
        ids: list[str] = []
        for place, value in enumerate(values):
            field = f"{level}[{place}]"
            text = check_text(value, field, max_chars)
            if not text.strip():
                raise InvalidInputError("is empty", field)
            id_ = hashlib.sha256(text.encode()).hexdigest()[:16]
            if id_ in seen:
                raise InvalidInputError(f"is the same text as {seen[id_]}", field)
            seen[id_] = field
            documents.setdefault(id_, Document(id_, text))
            ids.append(id_)
        levels[level] = tuple(ids)
    if not levels["correct"]:
        raise InvalidInputError("must have at least one text", "correct")
    return LevelledQuery(query_id, query, **levels)
