"""Documents, queries and judgements of any layout, put together and held to the same rules."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from service.datasets.problems import OnProblem
from service.documents.lines import shown
from service.documents.rows import check_id, check_text
from service.errors import InvalidInputError
from service.types import Document, Refused

Grades = dict[str, dict[str, int]]
"""Query id -> document id -> grade."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, queries by id, and of each judged query the grades of documents by id.

    `unfindable` has the grades of documents without text, which are not among `documents`, whether
    they have a title or not. `warnings` are sentences about such rows.
    """

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: Grades
    unfindable: Grades = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def judged(self) -> Grades:
        """All grades: what a system is measured by."""
        queries = [*self.qrels, *(query for query in self.unfindable if query not in self.qrels)]
        return {q: {**self.qrels.get(q, {}), **self.unfindable.get(q, {})} for q in queries}


class Query(NamedTuple):
    """A query as its file has it."""

    id: str
    text: str


class Judgement(NamedTuple):
    """A line of judgements; `grade` is still text."""

    query: str
    document: str
    grade: str


_SHOWN_IDS = 5

T = TypeVar("T")
Numbered = Iterable[tuple[Path, int, T | Refused]]
"""Rows with their file and their line or row there, 1-based; `Refused` for what is unreadable."""


class Parts(NamedTuple):
    """A collection's three streams, and the file or folder of each for messages."""

    documents: Numbered[Document]
    queries: Numbered[Query]
    judgements: Numbered[Judgement]
    paths: tuple[Path, Path, Path]


def make_query(id_: object, text: object, max_chars: int) -> Query:
    """The query, or `InvalidInputError` with the field that is unfit."""
    checked = check_id(id_, "_id")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError("must be a string that is not empty", "text")
    return Query(checked, check_text(text, "text", max_chars))


def gather(name: str, parts: Parts, on_problem: OnProblem) -> Collection:
    """The collection; `on_problem` hears of each row that breaks a rule.

    The rules: ids of documents and of queries stand once, judgements name known ones, a grade is an
    integer and never contradicts an earlier one, and none of the three is empty. A document without
    text breaks no rule: a warning names it.
    """
    where = [shown(path) for path in parts.paths]
    found = _documents(parts.documents, on_problem)
    documents = [document for document in found if document.text.strip()]
    empty = [document.id for document in found if not document.text.strip()]
    if not documents:
        on_problem(Refused(where[0], None, None, "no documents"))
    queries = _queries(parts.queries, on_problem)
    if not queries:
        on_problem(Refused(where[1], None, None, "no queries"))
    qrels = _qrels(parts.judgements, queries, {d.id for d in found}, on_problem)
    if not qrels:
        on_problem(Refused(where[2], None, None, "no judgements"))
    findable, unfindable = _divided(qrels, set(empty))
    count = f"{len(empty)} document{'s' * (len(empty) > 1)}"
    warning = f"{where[0]}: {count} without text, which cannot be found: {_some(empty)}"
    return Collection(name, documents, queries, findable, unfindable, (warning,) if empty else ())


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


def _documents(rows: Numbered[Document], on_problem: OnProblem) -> list[Document]:
    documents: list[Document] = []
    lines: dict[str, int] = {}
    for path, number, row in rows:
        if isinstance(row, Refused):
            on_problem(row)
        elif row.id in lines:
            reason = f"{row.id!r} is on line {lines[row.id]} too"
            on_problem(Refused(shown(path), number, "_id", reason))
        else:
            lines[row.id] = number
            documents.append(row)
    return documents


def _queries(rows: Numbered[Query], on_problem: OnProblem) -> dict[str, str]:
    queries: dict[str, str] = {}
    for path, number, row in rows:
        if isinstance(row, Refused):
            on_problem(row)
        elif row.id in queries:
            reason = f"{row.id!r} is on an earlier line too"
            on_problem(Refused(shown(path), number, "_id", reason))
        else:
            queries[row.id] = row.text
    return queries


def _qrels(
    rows: Numbered[Judgement],
    queries: dict[str, str],
    documents: set[str],
    on_problem: OnProblem,
) -> Grades:
    qrels: Grades = {}
    for path, number, row in rows:
        if isinstance(row, Refused):
            on_problem(row)
            continue
        wrong = _unfit(row, queries, documents, qrels.get(row.query, {}))
        if wrong is None:
            qrels.setdefault(row.query, {})[row.document] = int(row.grade)
        else:
            on_problem(Refused(shown(path), number, *wrong))
    return qrels


def _unfit(
    row: Judgement, queries: dict[str, str], documents: set[str], earlier: dict[str, int]
) -> tuple[str, str] | None:
    """The field that is wrong and why."""
    if row.query not in queries:
        return "query-id", f"no query has the id {row.query!r}"
    if row.document not in documents:
        return "corpus-id", f"no document has the id {row.document!r}"
    try:
        grade = int(row.grade)
    except ValueError:
        return "score", f"{row.grade!r} is not an integer"
    if earlier.get(row.document, grade) != grade:
        return "score", "contradicts an earlier line"
    return None
