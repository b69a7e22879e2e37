"""Documents from CSV: a header with `id`, `text` and perhaps `title`, commas, double quotes."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.documents.lines import Numbered, parsed, shown
from service.documents.rows import make_document
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused

_FIELD_FACTOR = 10
"""A field may be longer than a text by this factor: it is read whole, and only it is refused."""

_BESIDE_A_FIELD = 1 << 20
"""Characters of a record besides its longest field. A longer record is broken."""

_MOST_CHARS_READ_AGAIN = 1 << 27
"""In one file. Only a file full of unclosed quotes comes near it."""

_FIELD = r'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_WELL_FORMED = re.compile(rf"{_FIELD}(?:,{_FIELD})*+(?:\r\n?|\n)?")
"""A record of RFC 4180. The csv module also accepts quotes within an unquoted field."""


def read_csv(path: Path, limits: DocumentLimits) -> Numbered[Document]:
    """One document a record; columns other than those above become metadata, as strings.

    Blanks around a cell are removed, except in `text`. An empty cell, and a column without a name,
    are left out. A record's line is the one on which it begins. After a broken record, reading
    continues at the next line that begins a well-formed one, and the refusal names the lines
    between. Raises `InvalidInputError` at once for a header that names no `id` or no `text`.
    """
    names = _header(path)
    # The limit is one for the whole process: it may be raised here, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_FACTOR * limits.text))
    lines = _Lines(path, _FIELD_FACTOR * limits.text + _BESIDE_A_FIELD)
    return parsed(
        path, _records(path, lines, len(names)), lambda row: _document(names, row, limits)
    )


def _header(path: Path) -> list[str]:
    """The columns' names. Raises `InvalidInputError` if they cannot be read or used."""
    where = f"{shown(path)}, line 1"
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InvalidInputError(f"{where}: the file is UTF-16; save it as CSV in UTF-8")
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
            raise InvalidInputError(f"{where}: the header has the column {name} twice", name)
        if _is_undecodable(name):
            raise InvalidInputError(f"{where}: the header is not valid UTF-8")
    return names


def _records(path: Path, lines: "_Lines", columns: int) -> Numbered[list[str]]:
    next(csv.reader(lines))  # the header
    broken: tuple[int, str] | None = None
    while True:
        line = lines.begin()
        try:
            values = next(csv.reader(lines, strict=True), None)
        except csv.Error as error:
            broken = broken or (line, str(error))
            lines.back_to_second()
            continue
        if broken and values is not None and not lines.is_well_formed(values, columns):
            lines.back_to_second()  # a quote within it may have opened where none was meant
            continue
        if broken:
            yield broken[0], Refused(shown(path), broken[0], None, _lost(*broken, line))
            broken = None
        if values is None:
            return
        if len(values) == columns:
            yield line, values
        elif values:
            last = lines.number
            through = f" (lines {line} to {last}: a quote may be left open)" if last > line else ""
            reason = f"has {len(values)} fields where the header has {columns}{through}"
            yield line, Refused(shown(path), line, None, reason)


class _Lines:
    """The lines of a file for a CSV reader, which can be read again. `number`: lines read."""

    def __init__(self, path: Path, most_chars: int) -> None:
        self._lines, self._most_chars = _decoded_lines(path), most_chars
        self._again: list[str] = []  # the next one is the last
        self._record: list[str] = []
        self._chars = self._chars_again = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._chars > self._most_chars:
            raise csv.Error(f"a record has more than {self._most_chars} characters")
        line = self._again.pop() if self._again else next(self._lines)
        self.number += 1
        self._chars += len(line)
        self._record.append(line)
        return line

    def begin(self) -> int:
        """Begin a record; returns the number of its first line, 1-based."""
        self._record, self._chars = [], 0
        return self.number + 1

    def back_to_second(self) -> None:
        """Read all lines of the record again, except its first."""
        again = self._record[1:]
        self._chars_again += sum(map(len, again))
        if self._chars_again > _MOST_CHARS_READ_AGAIN:
            return
        self.number -= len(again)
        self._again.extend(reversed(again))

    def is_well_formed(self, values: Sequence[str], columns: int) -> bool:
        """Whether the record is one of RFC 4180 and has all fields."""
        record = "".join(self._record)
        return len(values) == columns and _WELL_FORMED.fullmatch(record) is not None


def _lost(line: int, reason: str, end: int) -> str:
    """Why the lines from `line` to the one before `end` are refused."""
    count = end - line
    lines = f"; lines {line} to {end - 1} are left out ({count} lines)" if count > 1 else ""
    return f"not valid CSV: {reason}{lines}"


def _document(names: Sequence[str], values: Sequence[str], limits: DocumentLimits) -> Document:
    row = {name: value for name, value in zip(names, values, strict=True) if name}
    for name, value in row.items():
        if _is_undecodable(value):
            raise InvalidInputError("is not valid UTF-8", name)
    text = row.pop("text")
    cells = {name: value.strip() for name, value in row.items()}
    id_, title = cells.pop("id"), cells.pop("title", "")
    metadata = {name: value for name, value in cells.items() if value}
    return make_document(id_, text, title, metadata, limits)


def _decoded_lines(path: Path) -> Iterator[str]:
    # Bytes that are not UTF-8 become lone surrogates, so that only their own record is refused.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from file


def _is_undecodable(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
