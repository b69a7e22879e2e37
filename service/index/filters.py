"""Metadata as rows that a filter can be matched against.

Text, number and boolean are kept apart: the text "1", the number 1 and true are three values.
The numbers 1 and 1.0 are one. Names and values only ever travel as bound parameters.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from service.errors import InvalidInputError
from service.types import Filters, Metadata

MAX_FIELDS = 64
MAX_VALUES = 10_000
"""Limits of one filter; SQLite itself allows 500 joined queries and 32,766 parameters."""

_MAX_INTEGER = 2**63 - 1

Scalar = str | int | float | bool


class MetadataRow(NamedTuple):
    """One value that a field of a document has."""

    field: str
    kind: str
    value: str | int | float


class Condition(NamedTuple):
    """A piece of SQL and the values bound to its question marks."""

    sql: str
    parameters: list[str | int | float]


def metadata_rows(metadata: Metadata) -> list[MetadataRow]:
    """The rows to match filters against: one per scalar, one per element of a list, none for null.

    Raises `InvalidInputError` for a value that could not be stored and found again as it is.
    """
    rows = []
    for field, value in metadata.items():
        where = f"metadata.{field}"
        if _kind(field) is None:
            raise InvalidInputError("a metadata field's name is not valid Unicode", "metadata")
        if isinstance(value, list) and not all(isinstance(element, str) for element in value):
            raise InvalidInputError("a list in metadata may only hold strings", where)
        for element in value if isinstance(value, list) else [value]:
            if element is None:
                continue
            kind = _kind(element)
            if kind is None:
                raise InvalidInputError(
                    "must be a valid Unicode string, a finite number within 64 bits, "
                    "a boolean, null or a list of strings",
                    where,
                )
            rows.append(MetadataRow(field, kind, element))
    return rows


def matching_documents(filters: Filters) -> Condition:
    """A query for the numbers of the documents that satisfy every field of `filters`.

    `filters` must not be empty. Raises `InvalidInputError` beyond the limits.
    """
    if len(filters) > MAX_FIELDS:
        raise InvalidInputError(f"at most {MAX_FIELDS} fields can be filtered", "filters")
    wanted = {field: _as_values(value) for field, value in filters.items()}
    if sum(map(len, wanted.values())) > MAX_VALUES:
        raise InvalidInputError(f"at most {MAX_VALUES} values can be filtered", "filters")
    queries = [_one_field(field, values) for field, values in wanted.items()]
    return Condition(
        # A subquery each, as UNION and INTERSECT bind equally in SQLite.
        " INTERSECT ".join(f"SELECT * FROM ({query.sql})" for query in queries),  # noqa: S608
        [parameter for query in queries for parameter in query.parameters],
    )


def _as_values(value: Scalar | Sequence[Scalar]) -> Sequence[Scalar]:
    return [value] if isinstance(value, str | int | float) else value


def _one_field(field: str, values: Sequence[Scalar]) -> Condition:
    by_kind: dict[str, list[Scalar]] = {}
    for value in values:
        kind = _kind(value)
        if kind is not None:  # what cannot be stored equals nothing that is
            by_kind.setdefault(kind, []).append(value)
    if not by_kind or _kind(field) is None:
        return Condition("SELECT document FROM metadata WHERE 0", [])
    sql, parameters = [], []
    for kind, of_kind in by_kind.items():
        marks = ", ".join("?" * len(of_kind))
        sql.append(
            "SELECT document FROM metadata "  # noqa: S608 (nothing but question marks goes in)
            f"WHERE field = ? AND kind = ? AND value IN ({marks})"
        )
        parameters += [field, kind, *of_kind]
    return Condition(" UNION ".join(sql), parameters)


def _kind(value: object) -> str | None:
    """`text`, `number` or `boolean`; None for what SQLite cannot hold unchanged."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "number" if -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER else None
    if isinstance(value, float):
        return "number" if math.isfinite(value) else None
    if isinstance(value, str):
        return "text" if is_unicode(value) else None
    return None


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
