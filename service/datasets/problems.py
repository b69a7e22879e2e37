"""What is wrong with a file: stop at the first problem, or collect all of them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from service.documents.lines import Numbered, parsed, read_json_lines, shown
from service.errors import InvalidInputError
from service.types import Refused

T = TypeVar("T")

OnProblem = Callable[[Refused], None]
"""Is called with each row that is wrong. If it returns, the row is left out."""


def stop(problem: Refused) -> None:
    """Raise `InvalidInputError` with file, line and field."""
    raise InvalidInputError(described(problem), problem.field)


def described(problem: Refused) -> str:
    """`FILE, line N: FIELD: reason`, without the parts that are unknown."""
    line = "" if problem.line is None else f", line {problem.line}"
    field = f"{problem.field}: " if problem.field else ""
    return f"{problem.source}{line}: {field}{problem.reason}"


def existing(path: Path) -> Path:
    """The path of a file that exists; raises `InvalidInputError`."""
    if not path.is_file():
        raise InvalidInputError(f"{shown(path)}: there is no such file", "path")
    return path


def kept(rows: Numbered[T], on_problem: OnProblem) -> Iterator[T]:
    """The rows that were not refused; `on_problem` gets the others."""
    for _, row in rows:
        if isinstance(row, Refused):
            on_problem(row)
        else:
            yield row


def read_rows(
    path: Path, parse: Callable[[dict[str, Any]], T], max_chars: int, on_problem: OnProblem
) -> Iterator[T]:
    """What `parse` makes of the JSON objects of a file; it raises `InvalidInputError`."""
    return kept(parsed(path, read_json_lines(existing(path), max_chars), parse), on_problem)


def unique(
    paths: Iterable[Path],
    read: Callable[[Path], Numbered[T]],
    id_of: Callable[[T], str],
    on_problem: OnProblem,
) -> dict[str, T]:
    """The rows of some files by id; a second row of an id is a problem."""
    found: dict[str, T] = {}
    lines: dict[str, int] = {}
    for path in paths:
        for number, row in read(path):
            if isinstance(row, Refused):
                on_problem(row)
            elif (id_ := id_of(row)) in found:
                reason = f"{id_!r} is on line {lines[id_]} too"
                on_problem(Refused(shown(path), number, "_id", reason))
            else:
                found[id_], lines[id_] = row, number
    return found
