"""Documents from CSV: a header with `id`, `text` and perhaps `title`, commas, double quotes."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.collection.lines import shown
from service.collection.rows import Row, make_document
from service.errors import InvalidInputError
from service.types import Document, Refused

_FIELD_FACTOR = 10
"""A field that is longer than a text may be, but not by more, is read whole and refused alone."""


def read_csv(path: Path, max_chars: int) -> Iterator[Row]:
    """One row a record; columns beside those above are metadata, as strings.

    A column without a name is left out. A refused record is named by the line that it begins on.
    Raises `InvalidInputError` at once for a header that names no `id` or no `text`.
    """
    names = _header(path)
    # The limit is one for the whole process: it may be raised here, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_FACTOR * max_chars))
    return _records(path, names, max_chars)


def _header(path: Path) -> list[str]:
    """The columns' names. Raises `InvalidInputError` where they cannot be told or used."""
    where = f"{shown(path)}, line 1"
    try:
        names = [name.strip() for name in next(csv.reader(_decoded_lines(path)), [])]
    except csv.Error as error:
        raise InvalidInputError(f"{where}: not a CSV header: {error}") from error
    for name in ("id", "text"):
        if name not in names:
            raise InvalidInputError(
                f"{where}: the header needs the columns id and text, separated by commas; "
                f"it has no {name}",
                name,
            )
    for name in names:
        if name and names.count(name) > 1:
            raise InvalidInputError(f"{where}: the column {name} stands there twice", name)
        if _is_undecodable(name):
            raise InvalidInputError(f"{where}: the header is not valid UTF-8")
    return names


def _records(path: Path, names: Sequence[str], max_chars: int) -> Iterator[Row]:
    reader = csv.reader(_decoded_lines(path), strict=True)
    next(reader)
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
            if values:
                yield _document(names, values, max_chars)
        except StopIteration:
            return
        except csv.Error as error:
            yield Refused(shown(path), line, None, f"not valid CSV: {error}")
        except InvalidInputError as error:
            yield Refused(shown(path), line, error.field, str(error))


def _document(names: Sequence[str], values: Sequence[str], max_chars: int) -> Document:
    if len(values) != len(names):
        raise InvalidInputError(f"has {len(values)} fields where the header has {len(names)}")
    row = {name: value for name, value in zip(names, values, strict=True) if name}
    for name, value in row.items():
        if _is_undecodable(value):
            raise InvalidInputError("is not valid UTF-8", name)
    id_, text, title = row.pop("id"), row.pop("text"), row.pop("title", "")
    return make_document(id_, text, title, row, max_chars)


def _decoded_lines(path: Path) -> Iterator[str]:
    # Bytes that are no UTF-8 become lone surrogates, so that they spoil their own record alone.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from file


def _is_undecodable(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
