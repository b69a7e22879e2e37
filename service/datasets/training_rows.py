"""Labels as training takes them, one JSON object a line: rows, triplets and labelled pairs.

- a row: `{"query", "pos": [...], "neg": [...]?, "neg_q": [...]?}`
- a triplet: `{"anchor" or "query", "positive", "negative"?}`, read as a row
- a pair: `{"sentence1", "sentence2", "label"}` or `{"query", "passage", "label"}`

Other keys are passed over.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from service.datasets.problems import OnProblem, existing, stop
from service.documents.lines import read_json_lines, shown
from service.documents.rows import MAX_CHARS, check_text
from service.durable import write_json_lines
from service.errors import InvalidInputError
from service.types import Refused

Kind = Literal["rows", "triplets", "pairs"]
T = TypeVar("T")

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


def rows_kind(path: Path) -> Kind:
    """What a file of JSON lines holds, told by the keys of its first object.

    Raises `InvalidInputError` for a file that is missing, has no line, or holds none of the three.
    """
    for number, row in read_json_lines(existing(path), MAX_CHARS):
        if isinstance(row, Refused):
            stop(row)
        else:
            return _kind(row, path, number)
    raise InvalidInputError(f"{shown(path)}: no rows")


def read_training_rows(
    path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> list[TrainingRow]:
    """All rows or triplets of a file, in its order; each text has 1 to `max_chars` characters.

    Raises `InvalidInputError` for a file of another kind and, unless `on_problem` is told of them,
    for the first line that is wrong, with file, line and field.
    """
    kind = rows_kind(path)
    if kind == "pairs":
        raise InvalidInputError(f"{shown(path)}: holds labelled pairs, not rows or triplets")
    return list(_parsed(path, _row if kind == "rows" else _triplet, max_chars, on_problem))


def read_labelled_pairs(
    path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> list[LabelledPair]:
    """All pairs of a file, in its order. Raises as `read_training_rows` does."""
    if (kind := rows_kind(path)) != "pairs":
        raise InvalidInputError(f"{shown(path)}: holds {kind}, not labelled pairs")
    return list(_parsed(path, _pair, max_chars, on_problem))


def write_training_rows(path: Path, rows: Iterable[TrainingRow]) -> int:
    """Write rows as `{"query", "pos", "neg", "neg_q"?}`; returns how many. Raises `OSError`."""
    return write_json_lines(path, map(_as_json, rows))


def write_labelled_pairs(path: Path, pairs: Iterable[LabelledPair]) -> int:
    """Write pairs as `{"sentence1", "sentence2", "label"}`; returns how many. Raises `OSError`."""
    return write_json_lines(
        path, ({"sentence1": p.first, "sentence2": p.second, "label": p.label} for p in pairs)
    )


def _as_json(row: TrainingRow) -> dict[str, Any]:
    written = {"query": row.query, "pos": row.positives, "neg": row.negatives}
    return {**written, "neg_q": row.negative_queries} if row.negative_queries else written


def _parsed(
    path: Path, parse: Callable[[dict[str, Any], int], T], max_chars: int, on_problem: OnProblem
) -> Iterator[T]:
    for number, row in read_json_lines(existing(path), max_chars):
        if isinstance(row, Refused):
            on_problem(row)
            continue
        try:
            parsed = parse(row, max_chars)
        except InvalidInputError as error:
            on_problem(Refused(shown(path), number, error.field, str(error)))
        else:
            yield parsed


def _kind(row: Mapping[str, Any], path: Path, number: int) -> Kind:
    if "label" in row:
        return "pairs"
    if "pos" in row:
        return "rows"
    if "positive" in row:
        return "triplets"
    raise InvalidInputError(
        f"{shown(path)}, line {number}: is no row (query, pos), no triplet (anchor, positive) "
        "and no pair (sentence1, sentence2, label)"
    )


def _row(row: Mapping[str, Any], max_chars: int) -> TrainingRow:
    query = _text(row, "query", max_chars)
    positives = _texts(row, "pos", max_chars)
    if not positives:
        raise InvalidInputError("must have at least one text", "pos")
    negatives = _texts(row, "neg", max_chars) if row.get("neg") is not None else ()
    answered = _texts(row, "neg_q", max_chars) if row.get("neg_q") is not None else ()
    if answered and len(answered) != len(negatives):
        raise InvalidInputError(
            f"has {len(answered)} queries for {len(negatives)} negatives; one for each, or none",
            "neg_q",
        )
    return TrainingRow(query, positives, negatives, answered)


def _triplet(row: Mapping[str, Any], max_chars: int) -> TrainingRow:
    query = _text(row, next((name for name in _ANCHORS if name in row), "anchor"), max_chars)
    positive = _text(row, "positive", max_chars)
    if row.get("negative") is None:
        return TrainingRow(query, (positive,))
    return TrainingRow(query, (positive,), (_text(row, "negative", max_chars),))


def _pair(row: Mapping[str, Any], max_chars: int) -> LabelledPair:
    names = next((pair for pair in _PAIR_NAMES if pair[0] in row), _PAIR_NAMES[0])
    first, second = (_text(row, name, max_chars) for name in names)
    label = row.get("label")
    if isinstance(label, bool) or label not in (0, 1):
        raise InvalidInputError("must be 0 or 1", "label")
    return LabelledPair(first, second, int(label))


def _texts(row: Mapping[str, Any], name: str, max_chars: int) -> tuple[str, ...]:
    values = row[name]
    if not isinstance(values, list):
        raise InvalidInputError("must be a list of strings", name)
    return tuple(
        _filled(value, f"{name}[{place}]", max_chars) for place, value in enumerate(values)
    )


def _text(row: Mapping[str, Any], name: str, max_chars: int) -> str:
    if name not in row:
        raise InvalidInputError("is missing", name)
    return _filled(row[name], name, max_chars)


def _filled(value: object, name: str, max_chars: int) -> str:
    text = check_text(value, name, max_chars)
    if not text.strip():
        raise InvalidInputError("is empty", name)
    return text
