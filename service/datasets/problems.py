"""What is wrong with a file: stop at the first, or hear of all."""

from collections.abc import Callable
from pathlib import Path

from service.documents.lines import shown
from service.errors import InvalidInputError
from service.types import Refused

OnProblem = Callable[[Refused], None]
"""Is told of a row that is wrong; where it returns, the row is left out."""


def stop(problem: Refused) -> None:
    """Raise `InvalidInputError` with file, line and field."""
    raise InvalidInputError(described(problem), problem.field)


def described(problem: Refused) -> str:
    """`FILE, line N: FIELD: reason`, without what is not known."""
    line = "" if problem.line is None else f", line {problem.line}"
    field = f"{problem.field}: " if problem.field else ""
    return f"{problem.source}{line}: {field}{problem.reason}"


def existing(path: Path) -> Path:
    """The path of a file that is there; raises `InvalidInputError`."""
    if not path.is_file():
        raise InvalidInputError(f"{shown(path)}: there is no such file", "path")
    return path
