"""JSON from outside: an object in which a key appears twice is refused, and so are too many values.

Python's parser keeps the last of two values without a word, so half of a filter, say, was lost.
It also holds up every other thread while it fills one array: 64 MiB of `[],[],` took it seven
seconds and 1.4 GB.
"""

import json
import re
from typing import Any

from service.errors import DuplicateKeyError

MOST_VALUES = 1_000_000
"""Of one text, counted by the commas between them."""

_MOST_KEY_CHARS = 64
_MOST_PATH_CHARS = 128
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}:,]', re.DOTALL)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def loads(data: str | bytes) -> Any:
    """Parse JSON as `json.loads` does.

    Raises `DuplicateKeyError` besides, with the key, its path, line and column, and
    `json.JSONDecodeError` for more than `MOST_VALUES` values. Linear in time.
    """
    commas = data.count(",") if isinstance(data, str) else data.count(b",")
    if commas > MOST_VALUES:
        _check_values(_decoded(data))
    try:
        return json.loads(data, object_pairs_hook=_object)
    except _RepeatedError:
        text = _decoded(data)
    raise _first_duplicate(text)


class _RepeatedError(Exception):
    """Some object has a key twice; the parser cannot tell where."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Being Python, this lets other threads in after each object. Without it, the whole parse is one
    # step of C: a body full of metadata kept searches waiting for two seconds.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RepeatedError
    return value


def _check_values(text: str) -> None:
    """Count the commas outside of strings; being Python, this lets other threads in."""
    commas = strings = end = 0
    for found in _STRING.finditer(text):
        strings += 1
        commas += text.count(",", end, found.start())
        end = found.end()
        if max(commas, strings // 2) > MOST_VALUES:
            break
    else:
        commas += text.count(",", end)
    if max(commas, strings // 2) > MOST_VALUES:
        raise json.JSONDecodeError(f"more than {MOST_VALUES:,} values", text, end)


def _decoded(data: str | bytes) -> str:
    if isinstance(data, str):
        return data
    return data.decode(json.detect_encoding(data), "surrogatepass").removeprefix("\ufeff")


def _first_duplicate(text: str) -> DuplicateKeyError:
    """Walk through the tokens, which are known to be sound up to the end of that object."""
    keys: list[set[str] | None] = []  # of each open object; None for an array
    path: list[str | int] = []  # the key or index that each open object or array is at
    key_comes = False
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            is_object = mark == "{"
            keys.append(set() if is_object else None)
            path.append("" if is_object else 0)
            key_comes = is_object
        elif mark in "}]":
            keys.pop()
            path.pop()
            key_comes = False
        elif mark == ",":
            key_comes = keys[-1] is not None
            if isinstance(path[-1], int):
                path[-1] += 1
        elif key_comes and mark != ":" and (seen := keys[-1]) is not None:
            key, key_comes = str(json.loads(mark, strict=False)), False
            path[-1] = key
            if key in seen:
                return _error(key, path, text, token.start())
            seen.add(key)
    raise AssertionError("the parser found a duplicate key, the walk did not")


def _error(key: str, path: list[str | int], text: str, place: int) -> DuplicateKeyError:
    line_start = text.rfind("\n", 0, place) + 1
    return DuplicateKeyError(
        _shown(key, _MOST_KEY_CHARS),
        _shown(".".join(_shown(str(part), _MOST_KEY_CHARS) for part in path), _MOST_PATH_CHARS),
        text.count("\n", 0, place) + 1,
        place - line_start + 1,
    )


def _shown(text: str, most_chars: int) -> str:
    """What can be sent back: short, and Unicode even where half a surrogate pair was escaped."""
    return text[:most_chars].encode("utf-8", "replace").decode()
