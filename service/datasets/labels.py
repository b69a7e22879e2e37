"""Labelled collections: documents, queries and judgements, under the same rules in every layout."""

import hashlib
from collections.abc import Container, Sequence, Sized
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Protocol

from service.datasets.problems import OnProblem, kept, unique
from service.documents.lines import Numbered, parsed, shown
from service.documents.rows import check_filled, check_id
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused

Grades = dict[str, dict[str, int]]
"""Query id -> document id -> grade."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, queries by id, and the grades of each judged query.

    Documents without text, with or without a title, are not among `documents`. Their grades are
    in `unfindable`, and `warnings` has a sentence about them.
    """

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: Grades
    unfindable: Grades = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def judged(self) -> Grades:
        """All grades, those of unfindable documents too: evaluation measures a system by these."""
        queries = [*self.qrels, *(query for query in self.unfindable if query not in self.qrels)]
        return {q: {**self.qrels.get(q, {}), **self.unfindable.get(q, {})} for q in queries}


class Query(NamedTuple):
    id: str
    text: str


class Judgement(NamedTuple):
    """A line of judgements; `grade` is still text."""

    query: str
    document: str
    grade: str


class Files(NamedTuple):
    documents: Sequence[Path]
    queries: Sequence[Path]
    judgements: Sequence[Path]


class Layout(Protocol):
    """How one layout names and reads its files: a module with these four functions."""

    def find_files(self, folder: Path, /) -> Files | None:
        """None for a folder of another layout. Raises `InvalidInputError` for a missing file."""

    def read_documents(self, path: Path, limits: DocumentLimits, /) -> Numbered[Document]:
        """The documents of one file."""

    def read_queries(self, path: Path, max_chars: int, /) -> Numbered[Query]:
        """The queries of one file."""

    def read_judgements(self, path: Path, max_chars: int, /) -> Numbered[Judgement]:
        """The judgements of one file."""


_SHOWN_IDS = 5


def make_query(id_: object, text: object, max_chars: int) -> Query:
    """The query. Raises `InvalidInputError` with the field that is wrong."""
    return Query(check_id(id_, "_id"), check_filled(text, "text", max_chars))


def text_id(text: str) -> str:
    """The id of a document or query that has none: equal for equal texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def titled_text(document: Document) -> str:
    return f"{document.title} {document.text}" if document.title.strip() else document.text


def gather(
    name: str, layout: Layout, files: Files, max_chars: int, on_problem: OnProblem
) -> Collection:
    """The collection; `on_problem` gets each row that breaks a rule.

    The rules: the ids of documents and of queries are unique, judgements name known ids, a grade is
    an integer and never contradicts an earlier one, and none of the three is empty. A document
    without text breaks no rule; a warning names it.
    """
    by_id = attrgetter("id")
    limits = DocumentLimits(max_chars, max_chars, empty=True)
    found = unique(
        files.documents, lambda path: layout.read_documents(path, limits), by_id, on_problem
    )
    documents = [document for document in found.values() if document.text.strip()]
    _require(documents, "documents", files.documents, on_problem)
    queries = unique(
        files.queries, lambda path: layout.read_queries(path, max_chars), by_id, on_problem
    )
    _require(queries, "queries", files.queries, on_problem)
    qrels: Grades = {}
    for path in files.judgements:
        rows = layout.read_judgements(path, max_chars)
        graded = parsed(path, rows, lambda row: (row, _grade(row, queries, found, qrels)))
        for row, grade in kept(graded, on_problem):
            qrels.setdefault(row.query, {})[row.document] = grade
    _require(qrels, "judgements", files.judgements, on_problem)
    empty = [document.id for document in found.values() if not document.text.strip()]
    count = f"{len(empty)} document{'s' * (len(empty) > 1)}"
    warning = f"{_place(files.documents)}: {count} without text, which cannot be found: "
    return Collection(
        name,
        documents,
        {query.id: query.text for query in queries.values()},
        *_divided(qrels, set(empty)),
        (warning + _some(empty),) if empty else (),
    )


def _require(rows: Sized, name: str, paths: Sequence[Path], on_problem: OnProblem) -> None:
    if not rows:
        on_problem(Refused(_place(paths), None, None, f"no {name}"))


def _place(paths: Sequence[Path]) -> str:
    return shown(paths[0] if len(paths) == 1 else paths[0].parent)


def _divided(qrels: Grades, ids: set[str]) -> tuple[Grades, Grades]:
    """The grades of other documents than `ids`, and those of `ids`; no query without any."""
    parts: tuple[Grades, Grades] = {}, {}
    for query, grades in qrels.items():
        for document, grade in grades.items():
            parts[document in ids].setdefault(query, {})[document] = grade
    return parts


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
    return ", ".join(map(repr, ids[:_SHOWN_IDS])) + more


def _grade(
    row: Judgement, queries: Container[str], documents: Container[str], earlier: Grades
) -> int:
    """The grade as a number. Raises `InvalidInputError` with the field that is wrong."""
    if row.query not in queries:
        raise InvalidInputError(f"no query has the id {row.query!r}", "query-id")
    if row.document not in documents:
        raise InvalidInputError(f"no document has the id {row.document!r}", "corpus-id")
    try:
        grade = int(row.grade)
    except ValueError:
        raise InvalidInputError(f"{row.grade!r} is not an integer", "score") from None
    if earlier.get(row.query, {}).get(row.document, grade) != grade:
        raise InvalidInputError("contradicts an earlier line", "score")
    return grade
