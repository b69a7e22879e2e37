"""Lines of a file in constant memory, and JSON objects of such lines."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from service import strict_json
from service.errors import DuplicateKeyError
from service.types import Refused

_LONGEST_ESCAPE = 12
"""Bytes that one character can take in JSON: an escaped surrogate pair."""

_BESIDE_THE_TEXT = 1 << 20
"""Bytes that a line may have on top of its text, for metadata."""


class Place(NamedTuple):
    """The end of a line: how many bytes and lines of the file there are up to it."""

    offset: int
    line: int


START = Place(0, 0)


def read_json_lines(path: Path, max_chars: int) -> Iterator[tuple[int, dict[str, Any] | Refused]]:
    """Each line's number (1-based) with its object, or why it is none. Blank lines are left out.

    No more than one line is held in memory, and of one that cannot be a row of `max_chars`
    characters no more than so much.
    """
    for place, row in read_json_lines_after(START, path, max_chars):
        yield place.line, row


def read_json_lines_after(
    start: Place, path: Path, max_chars: int
) -> Iterator[tuple[Place, dict[str, Any] | Refused]]:
    """As `read_json_lines`, of the lines behind `start`; each with the place where it ends."""
    max_bytes = _LONGEST_ESCAPE * max_chars + _BESIDE_THE_TEXT
    for place, line in _bounded_lines(start, path, max_bytes):
        if line is None:
            reason = f"the line is longer than {max_bytes} bytes"
            yield place, Refused(shown(path), place.line, None, reason)
        elif line.strip():
            yield place, _parse(line, path, place.line)


def count_lines(path: Path) -> int:
    """Lines of a file, the last one counted whether or not a line feed ends it."""
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
        # Without its end: the column of a fault behind it would be that of the next line.
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
