"""Labels as training takes them, one JSON object a line: rows, triplets and labelled pairs.

- a row: `{"query", "pos": [...], "neg": [...]?, "neg_q": [...]?}`
- a triplet: `{"anchor" or "query", "positive", "negative"?}`, read as a row
- a pair: `{"sentence1", "sentence2", "label"}` or `{"query", "passage", "label"}`

Other keys are ignored. The fourth kind of file, with levels, is read by `levels`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from service.datasets.labels import Collection, text_id, titled_text
from service.datasets.problems import OnProblem, read_rows, stop
from service.documents.lines import shown
from service.documents.rows import MAX_CHARS, check_filled, check_texts, required
from service.durable import write_json_lines
from service.errors import InvalidInputError
from service.types import Document

Kind = Literal["levels", "pairs", "rows", "triplets"]
_KINDS: dict[str, Kind] = {
    "correct": "levels",
    "label": "pairs",
    "pos": "rows",
    "positive": "triplets",
}
"""The kind of a row that has this key; the first one counts."""

_PAIR_NAMES = (("sentence1", "sentence2"), ("query", "passage"))
_ANCHORS = ("anchor", "query")


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A query with passages that answer it and passages that do not.

    `negative_queries` is empty, or as long as `negatives`: the j-th is a query that the j-th
    negative does answer.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    negative_queries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two texts and whether they belong together: `label` is 1 or 0."""

    first: str
    second: str
    label: int


def as_pairs(rows: Iterable[TrainingRow]) -> list[LabelledPair]:
    """A pair with label 1 for each positive of a row and one with label 0 for each negative."""
    return [
        LabelledPair(row.query, passage, label)
        for row in rows
        for label, passages in ((1, row.positives), (0, row.negatives))
        for passage in passages
    ]


def rows_kind(path: Path) -> Kind:
    """What a file of JSON lines holds, told by the keys of its first object.

    Raises `InvalidInputError` for a file that is missing, has no line, or holds none of the four.
    """
    for row in read_rows(path, dict, MAX_CHARS, stop):
        for key, kind in _KINDS.items():
            if key in row:
                return kind
        raise InvalidInputError(
            f"{shown(path)}: its first line is no row (query, pos), no triplet (anchor, positive), "
            "no pair (sentence1, sentence2, label) and has no levels (query, correct)"
        )
    raise InvalidInputError(f"{shown(path)}: no rows")


def read_training_rows(
    path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> list[TrainingRow]:
    """All rows or triplets of a file, in its order; each text has 1 to `max_chars` characters.

    Raises `InvalidInputError` for a file of another kind. For the first wrong line (file, line and
    field) it raises too, unless `on_problem` takes such lines.
    """
    kind = rows_kind(path)
    if kind not in ("rows", "triplets"):
        raise InvalidInputError(f"{shown(path)}: holds {kind}, not rows or triplets")
    parse = partial(_row if kind == "rows" else _triplet, max_chars=max_chars)
    return list(read_rows(path, parse, max_chars, on_problem))


def read_labelled_pairs(
    path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> list[LabelledPair]:
    """All pairs of a file, in its order. Raises as `read_training_rows` does."""
    if (kind := rows_kind(path)) != "pairs":
        raise InvalidInputError(f"{shown(path)}: holds {kind}, not labelled pairs")
    return list(read_rows(path, partial(_pair, max_chars=max_chars), max_chars, on_problem))


def write_training_rows(path: Path, rows: Iterable[TrainingRow]) -> int:
    """Write rows as `{"query", "pos", "neg", "neg_q"?}`; returns how many. Raises `OSError`."""
    return write_json_lines(path, map(_as_json, rows))


def _as_json(row: TrainingRow) -> dict[str, Any]:
    written = {"query": row.query, "pos": row.positives, "neg": row.negatives}
    return {**written, "neg_q": row.negative_queries} if row.negative_queries else written


def _row(row: Mapping[str, Any], max_chars: int) -> TrainingRow:
    query = _text(row, "query", max_chars)
    positives = check_texts(required(row, "pos"), "pos", max_chars)
    if not positives:
        raise InvalidInputError("must have at least one text", "pos")
    negatives, answered = (
        () if row.get(name) is None else check_texts(row[name], name, max_chars)
        for name in ("neg", "neg_q")
    )
    if answered and len(answered) != len(negatives):
        raise InvalidInputError(
            f"has {len(answered)} queries for {len(negatives)} negatives; one for each, or none",
            "neg_q",
        )
    return TrainingRow(query, positives, negatives, answered)


def _triplet(row: Mapping[str, Any], max_chars: int) -> TrainingRow:
    query = _text(row, next((name for name in _ANCHORS if name in row), "anchor"), max_chars)
    positive = _text(row, "positive", max_chars)
    has_negative = row.get("negative") is not None
    negatives = (_text(row, "negative", max_chars),) if has_negative else ()
    return TrainingRow(query, (positive,), negatives)


def _pair(row: Mapping[str, Any], max_chars: int) -> LabelledPair:
    names = next((pair for pair in _PAIR_NAMES if pair[0] in row), _PAIR_NAMES[0])
    first, second = (_text(row, name, max_chars) for name in names)
    label = row.get("label")
    if isinstance(label, bool) or label not in (0, 1):
        raise InvalidInputError("must be 0 or 1", "label")
    return LabelledPair(first, second, int(label))


def _text(row: Mapping[str, Any], name: str, max_chars: int) -> str:
    return check_filled(required(row, name), name, max_chars)


def rows_of(collection: Collection, *, min_grade: int = 1) -> Iterator[TrainingRow]:
    """A row for each query with a document of at least `min_grade`: all of these are its positives.

    Documents judged below that are its negatives. A title comes before its text.
    """
    texts = {document.id: titled_text(document) for document in collection.documents}
    for query, grades in collection.qrels.items():
        right = tuple(texts[id_] for id_, grade in grades.items() if grade >= min_grade)
        wrong = tuple(texts[id_] for id_, grade in grades.items() if grade < min_grade)
        if right:
            yield TrainingRow(collection.queries[query], right, wrong)


def collection_of(name: str, rows: Iterable[TrainingRow]) -> Collection:
    """Positives are judged 1 and negatives 0. Equal texts are one document or query.

    A positive of a query in any row is not a negative of it in another. Raises `InvalidInputError`
    if there are no rows.
    """
    documents: dict[str, Document] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        query = text_id(row.query)
        queries[query] = row.query
        grades = qrels.setdefault(query, {})
        for texts, grade in ((row.positives, 1), (row.negatives, 0)):
            for text in texts:
                id_ = text_id(text)
                documents.setdefault(id_, Document(id_, text))
                grades[id_] = max(grade, grades.get(id_, 0))
    if not queries:
        raise InvalidInputError(f"{name}: no rows")
    return Collection(name, list(documents.values()), queries, qrels)
