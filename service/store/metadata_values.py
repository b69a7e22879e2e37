"""Metadata as rows that a filter can be matched against.

Text, number and boolean are kept apart: the text "1", the number 1 and true are three values.
The numbers 1 and 1.0 are one. A text that is a date is a row of text and one of time. Names and
texts are composed (NFC), here and in a filter: `ế` is one value, in however many code points it was
written. Documents keep their metadata as it was sent.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from service.documents.rows import check_metadata, check_metadata_value, composed, is_unicode
from service.errors import InvalidInputError
from service.types import FilterScalar, Metadata

Kind = Literal["text", "number", "boolean", "date"]

_MAX_INTEGER = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The extended format alone: in the basic one each number of eight digits would be a date.
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?([Zz]|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)


class MetadataRow(NamedTuple):
    """One value that a field of a document has; a date's is in microseconds since 1970."""

    field: str
    kind: Kind
    value: str | int | float


def metadata_rows(metadata: Metadata) -> list[MetadataRow]:
    """The rows to match filters against: of each scalar, of each element of a list, none of null.

    Raises `InvalidInputError` for a value that could not be stored and found again as it is.
    """
    rows = []
    for field, given in metadata.items():
        if not is_unicode(field):
            raise InvalidInputError("a metadata field's name is not valid Unicode", "metadata")
        check_metadata_value(given, f"metadata.{field}")
        name = composed(field)
        for element in given if isinstance(given, list) else [given]:
            if element is None or (kind := kind_of(element)) is None:
                continue
            value = composed(element) if isinstance(element, str) else element
            rows.append(MetadataRow(name, kind, value))
            time = microseconds(element) if isinstance(element, str) else None
            if time is not None:
                rows.append(MetadataRow(name, "date", time))
    return rows


def merged(metadata: Metadata, changes: Metadata) -> Metadata:
    """`metadata` with `changes`, whose nulls remove a field (JSON Merge Patch, RFC 7396).

    Raises `InvalidInputError` if the outcome is beyond the limits of metadata.
    """
    kept = {name: value for name, value in metadata.items() if name not in changes}
    outcome = kept | {name: value for name, value in changes.items() if value is not None}
    check_metadata(outcome)
    return outcome


def kind_of(value: FilterScalar) -> Kind | None:
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


def microseconds(text: str) -> int | None:
    """The moment that an ISO 8601 date names, in microseconds since 1970; None for other text.

    `2026-11-21` is that day's midnight; a time without a zone is UTC. Finer digits are cut.
    """
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper().replace(",", "."))
    except ValueError:  # such as the 30th of February
        return None
    # By subtraction: at the ends of the calendar the time in UTC has no datetime.
    offset = moment.utcoffset() or timedelta()
    return (moment.replace(tzinfo=UTC) - _EPOCH - offset) // timedelta(microseconds=1)
