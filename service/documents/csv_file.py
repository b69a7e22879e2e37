"""Documents from CSV: a header with the columns of id and text, perhaps `title`; double quotes."""

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

from service.documents.lines import Numbered, parsed, shown
from service.documents.rows import make_document
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, MetadataValue, Refused

_FIELD_FACTOR = 10
"""A field may be longer than a text by this factor: it is read whole, and only it is refused."""

_BESIDE_A_FIELD = 1 << 20
"""Characters of a record besides its longest field. A longer record is broken."""

_MOST_CHARS_READ_AGAIN = 1 << 27
"""In one file. Only a file full of unclosed quotes comes near it."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
"""What JSON calls a number; `007` is a text."""

_MOST_DIGITS = 400
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons"}
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """The columns of id and text, and what is between fields: by default a tab in .tsv files and
    a comma in others."""

    id_column: str = "id"
    text_column: str = "text"
    delimiter: str | None = None

    def between(self, path: Path) -> str:
        """The character between fields."""
        return self.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")


CSV = CsvFormat()


def read_csv(path: Path, limits: DocumentLimits, form: CsvFormat = CSV) -> Numbered[Document]:
    """One document a record; columns other than those above become metadata.

    A column of which every filled cell is a number, or `true` or `false`, has such values; the file
    is read once more to know. Blanks around a cell are removed, except in the text. An empty cell,
    and a column without a name, are left out. A record's line is the one on which it begins. After
    a broken record, reading continues at the next line that begins a well-formed one, and the
    refusal names the lines between. Raises `InvalidInputError` at once for a header without the
    columns of id and text.
    """
    between = form.between(path)
    names = _header(path, form, between)
    # The limit is one for the whole process: it may be raised here, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_FACTOR * limits.text))
    lines = _Lines(path, _FIELD_FACTOR * limits.text + _BESIDE_A_FIELD, between)
    parse = partial(_document, names, _typed_columns(path, names, between), form, limits)
    return parsed(path, _records(path, lines, len(names)), parse)


def _header(path: Path, form: CsvFormat, between: str) -> list[str]:
    """The columns' names. Raises `InvalidInputError` if they cannot be read or used."""
    where = f"{shown(path)}, line 1"
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InvalidInputError(f"{where}: the file is UTF-16; save it as CSV in UTF-8")
    try:
        header = next(csv.reader(_decoded_lines(path), delimiter=between), [])
    except csv.Error as error:
        raise InvalidInputError(f"{where}: not a CSV header: {error}") from error
    names = [name.strip() for name in header]
    for name, option in ((form.id_column, "id"), (form.text_column, "text")):
        if name not in names:
            raise InvalidInputError(
                f"{where}: the header needs the columns {form.id_column} and {form.text_column}, "
                f"separated by {_NAMES.get(between, between)}; it has no {name}. Name another "
                f"column with --{option}-column, another separator with --delimiter",
                name,
            )
    for name in names:
        if name and names.count(name) > 1:
            raise InvalidInputError(f"{where}: the header has the column {name} twice", name)
        if _is_undecodable(name):
            raise InvalidInputError(f"{where}: the header is not valid UTF-8")
    return names


def _typed_columns(path: Path, names: Sequence[str], between: str) -> dict[str, type]:
    """The columns of which every filled cell is a number or a boolean."""
    kinds: dict[int, type | None] = {}
    rows = csv.reader(_decoded_lines(path), delimiter=between)
    next(rows)
    with suppress(csv.Error):  # each cell is looked at again
        for row in rows:
            if len(row) != len(names):
                continue
            for place, cell in enumerate(map(str.strip, row)):
                if cell and kinds.get(place, _kind(cell)) is not _kind(cell):
                    kinds[place] = None
                elif cell:
                    kinds[place] = _kind(cell)
            if len(kinds) == len(names) and not any(kinds.values()):
                break
    return {names[place]: kind for place, kind in kinds.items() if kind}


def _kind(cell: str) -> type | None:
    if len(cell) < _MOST_DIGITS and _NUMBER.fullmatch(cell):
        return float
    return bool if cell.lower() in _BOOLEANS else None


def _value(cell: str, kind: type | None) -> MetadataValue:
    if kind is None or _kind(cell) is not kind:
        return cell
    if kind is bool:
        return _BOOLEANS[cell.lower()]
    number = float(cell)
    whole = int(cell) if cell.lstrip("-").isdigit() else None
    if whole is not None and -(2**63) <= whole < 2**63:
        return whole
    return number if isfinite(number) else cell


def _records(path: Path, lines: "_Lines", columns: int) -> Numbered[list[str]]:
    next(csv.reader(lines, delimiter=lines.between))  # the header
    broken: tuple[int, str] | None = None
    while True:
        line = lines.begin()
        try:
            values = next(csv.reader(lines, strict=True, delimiter=lines.between), None)
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

    def __init__(self, path: Path, most_chars: int, between: str) -> None:
        self._lines, self._most_chars = _decoded_lines(path), most_chars
        self.between, self._well_formed = between, _record(between)
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
        return len(values) == columns and self._well_formed.fullmatch(record) is not None


def _record(between: str) -> re.Pattern[str]:
    """A record of RFC 4180. The csv module also accepts quotes within an unquoted field."""
    between = re.escape(between)
    field = rf'(?:"[^"]*+(?:""[^"]*+)*+"|[^"{between}\r\n]*+)'
    return re.compile(rf"{field}(?:{between}{field})*+(?:\r\n?|\n)?")


def _lost(line: int, reason: str, end: int) -> str:
    """Why the lines from `line` to the one before `end` are refused."""
    count = end - line
    lines = f"; lines {line} to {end - 1} are left out ({count} lines)" if count > 1 else ""
    return f"not valid CSV: {reason}{lines}"


def _document(
    names: Sequence[str],
    kinds: Mapping[str, type],
    form: CsvFormat,
    limits: DocumentLimits,
    values: Sequence[str],
) -> Document:
    row = {name: value for name, value in zip(names, values, strict=True) if name}
    for name, value in row.items():
        if _is_undecodable(value):
            raise InvalidInputError("is not valid UTF-8", name)
    text = row.pop(form.text_column)
    cells = {name: value.strip() for name, value in row.items()}
    id_, title = cells.pop(form.id_column), cells.pop("title", "")
    metadata = {name: _value(cell, kinds.get(name)) for name, cell in cells.items() if cell}
    return make_document(id_, text, title, metadata, limits)


def _decoded_lines(path: Path) -> Iterator[str]:
    # Bytes that are not UTF-8 become lone surrogates, so that only their own record is refused.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from file


def _is_undecodable(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
