"""From a path to rows: which reader a file or a plain folder needs."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from service.documents.csv_file import read_csv
from service.documents.jsonl import read_jsonl
from service.documents.lines import count_lines, shown
from service.documents.rows import Row
from service.documents.text_files import (
    SUFFIXES,
    find_texts,
    is_text,
    passed_over,
    read_text,
    read_texts,
)
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits

_JSONL = (".jsonl", ".ndjson")
_CSV = (".csv",)
_LIMITS = DocumentLimits()


def corpus_file(folder: Path) -> Path:
    """Where a folder has its documents as JSON lines, as BEIR does."""
    return folder / "corpus.jsonl"


def read_files(
    path: Path, limits: DocumentLimits = _LIMITS, *, last_only: bool = False
) -> Iterator[Row]:
    """The documents of a file or folder, in a fixed order, and the rows that were refused.

    - `.jsonl`: `{"id" or "_id", "title"?, "text", "metadata"?}` a line; other keys become metadata
    - `.csv`: a header with `id`, `text`, perhaps `title`; other columns become metadata
    - a folder with `corpus.jsonl`: that file
    - any other folder: its `.md`, `.txt` and `.html` files, or one such file

    JSON lines and CSV are read in little memory. With `last_only` they are read twice: if rows
    share an id, only the last one is given. A document beyond the `limits` is refused. A bad row
    never raises and never stops the rows behind it. Raises `InvalidInputError` at once for a path
    that is missing, unreadable or of another kind.

    Example:
        for row in read_files(Path("corpus.jsonl")):
            if isinstance(row, Refused):
                ...
    """
    _check_there(path)
    lines = _line_file(path)
    if lines is not None:
        is_csv = lines.suffix.lower() in _CSV
        read = partial(read_csv if is_csv else _json_rows, lines, limits)
        return _last_of_each_id(read) if last_only else read()
    if path.is_dir():
        return read_texts(path, limits)
    return iter([read_text(path, path.name, limits)])


def _json_rows(path: Path, limits: DocumentLimits) -> Iterator[Row]:
    return (row for _, row in read_jsonl(path, limits))


def _last_of_each_id(read: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows without those whose id a later one has.

    An id is remembered by eight bytes, and as it is where these stand more than once.
    """
    ids = (hash(row.id) for row in read() if isinstance(row, Document))
    hashes, counts = np.unique(np.fromiter(ids, np.int64), return_counts=True)
    last: dict[str, int] = {}
    if shared := set(hashes[counts > 1].tolist()):
        for number, row in enumerate(read()):
            if isinstance(row, Document) and hash(row.id) in shared:
                last[row.id] = number
    for number, row in enumerate(read()):
        if not isinstance(row, Document) or last.get(row.id, number) == number:
            yield row


def count_rows(path: Path) -> int:
    """About how many rows `read_files` will give, quickly.

    Blank lines, and lines within a quoted field of CSV, are counted too. Raises as
    `read_files` does.
    """
    _check_there(path)
    lines = _line_file(path)
    if lines is not None:
        return max(0, count_lines(lines) - (lines.suffix.lower() in _CSV))
    return len(find_texts(path)) if path.is_dir() else 1


def _line_file(path: Path) -> Path | None:
    """The file whose lines are rows; None where whole files are. Raises for a wrong path."""
    if path.is_dir():
        corpus = corpus_file(path)
        if not corpus.exists():
            if not find_texts(path):
                raise InvalidInputError(
                    f"{shown(path)}: the folder holds neither corpus.jsonl nor any file "
                    f"named {', '.join(SUFFIXES)}{_only(passed_over(path))}",
                    "path",
                )
            return None
        path = corpus
    if not path.is_file():
        raise InvalidInputError(f"{shown(path)}: not a regular file", "path")
    if path.suffix.lower() in (*_JSONL, *_CSV):
        return path
    if not is_text(path.name):
        raise InvalidInputError(
            f"{shown(path)}: only files named {', '.join((*_JSONL, *_CSV, *SUFFIXES))} are read",
            "path",
        )
    return None


def unread_files(path: Path) -> str:
    """How many files of a folder `read_files` passes over: `3 .pdf, 1 .rst`; empty for none."""
    if not path.is_dir() or corpus_file(path).exists():
        return ""
    return _counted(passed_over(path))


def _counted(suffixes: Counter[str]) -> str:
    ordered = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {suffix}" for suffix, count in ordered)


def _only(suffixes: Counter[str]) -> str:
    return f"; it holds {_counted(suffixes)}" if suffixes else ""


def _check_there(path: Path) -> None:
    try:
        if path.is_file():
            path.open("rb").close()
        else:
            path.stat()
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{shown(path)}: there is no such file or folder", "path"
        ) from error
    except OSError as error:
        raise InvalidInputError(
            f"{shown(path)}: cannot be read: {error.strerror}", "path"
        ) from error
