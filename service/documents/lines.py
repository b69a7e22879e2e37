"""Lines of a file in constant memory, and JSON objects of such lines."""

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from service import strict_json
from service.errors import DuplicateKeyError, InvalidInputError
from service.types import Refused

_LONGEST_ESCAPE = 12
"""Bytes that one character can take in JSON: an escaped surrogate pair."""

_BESIDE_THE_TEXT = 1 << 20
"""Bytes of a line besides its text, for metadata."""


R = TypeVar("R")
T = TypeVar("T")
Numbered = Iterator[tuple[int, T | Refused]]
"""The rows of a file, each with its line (1-based), or the reasons why they were refused."""


class Place(NamedTuple):
    """The end of a line: the bytes and lines of the file up to it."""

    offset: int
    line: int


START = Place(0, 0)


def parsed(path: Path, rows: Numbered[R], parse: Callable[[R], T]) -> Numbered[T]:
    """What `parse` makes of each row; a row is refused if `parse` raises `InvalidInputError`."""
    for number, row in rows:
        if isinstance(row, Refused):
            yield number, row
            continue
        try:
            yield number, parse(row)
        except InvalidInputError as error:
            yield number, Refused(shown(path), number, error.field, str(error))


def read_json_lines(path: Path, max_chars: int) -> Numbered[dict[str, Any]]:
    """The JSON objects of a file's lines. Blank lines are left out.

    Only one line is held in memory, and of a line that is too long for a row of `max_chars`
    characters only its beginning.
    """
    for place, row in read_json_lines_after(START, path, max_chars):
        yield place.line, row


def read_json_lines_after(
    start: Place, path: Path, max_chars: int
) -> Iterator[tuple[Place, dict[str, Any] | Refused]]:
    """As `read_json_lines`, for the lines after `start`, each with the place where it ends."""
    max_bytes = _LONGEST_ESCAPE * max_chars + _BESIDE_THE_TEXT
    for place, line in _bounded_lines(start, path, max_bytes):
        if line is None:
            reason = f"the line is longer than {max_bytes} bytes"
            yield place, Refused(shown(path), place.line, None, reason)
        elif line.strip():
            yield place, _parse(line, path, place.line)


def text_lines(path: Path) -> Numbered[str]:
    """Lines without their ends; a line that is not valid UTF-8 is refused."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                yield number, Refused(shown(path), number, None, "not valid UTF-8")
            else:
                yield number, text.removesuffix("\n").removesuffix("\r")


def filled_lines(path: Path) -> Numbered[str]:
    """The same without blank lines."""
    return (row for row in text_lines(path) if isinstance(row[1], Refused) or row[1].strip())


def count_lines(path: Path) -> int:
    """The lines of a file; the last one counts with or without a line feed."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def shown(path: Path) -> str:
    """A path as text that can be printed, even where its name is not valid Unicode."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _bounded_lines(
    start: Place, path: Path, max_bytes: int
) -> Iterator[tuple[Place, bytes | None]]:
    offset, number = start
    with path.open("rb") as file:
        file.seek(offset)
        while line := file.readline(max_bytes + 1):
            number += 1
            offset += len(line)
            fits = len(line) <= max_bytes
            while line and not fits and not line.endswith(b"\n"):
                line = file.readline(max_bytes)
                offset += len(line)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield Place(offset, number), line if fits else None


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any] | Refused:
    try:
        # Without the line end, so that the column of a fault is one of this line.
        value = strict_json.loads(line.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        reason = f"not valid UTF-8 at byte {error.start + 1} of the line"
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} at column {error.colno}"
    except DuplicateKeyError as error:
        reason = f'the key "{error.key}" appears twice in one object, at column {error.column}'
        return Refused(shown(path), number, error.field, reason)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or brackets nested without end.
        reason = "JSON with a number too long or nested too deep"
    else:
        if isinstance(value, dict):
            return value
        reason = "not a JSON object"
    return Refused(shown(path), number, None, reason)
