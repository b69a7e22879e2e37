"""Labelled collections as NanoBEIR has them: folders `corpus`, `queries` and `qrels`.

Each holds Parquet files or JSON lines with the columns `_id`, `text` (and `title`), or `query-id`,
`corpus-id` (and `score`; without it, every judgement says 1).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.datasets.labels import Collection, Judgement, Parts, Query, gather, make_query
from service.datasets.problems import OnProblem, stop
from service.documents.lines import read_json_lines, shown
from service.documents.rows import MAX_CHARS, make_document
from service.errors import InvalidInputError, SecondpassError
from service.extras import install_command
from service.types import Document, DocumentLimits, Refused

FOLDERS = ("corpus", "queries", "qrels")
_SUFFIXES = (".parquet", ".jsonl", ".ndjson")
_TEXTS = ("title", "text")

_Rows = Iterator[tuple[Path, int, dict[str, Any] | Refused]]


def is_nanobeir(folder: Path) -> bool:
    """Whether the three folders are there."""
    return all((folder / name).is_dir() for name in FOLDERS)


def nanobeir_files(folder: Path) -> list[Path]:
    """All files that are read, documents first, by name; raises `InvalidInputError` for none."""
    return [path for name in FOLDERS for path in _files(folder / name)]


def read_nanobeir(
    folder: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> Collection:
    """The whole collection, named after its folder; raises as `read_beir` does.

    A line's number is, in a Parquet file, that of its row. Raises `SecondpassError` for Parquet
    where pyarrow is not installed.
    """
    corpus, queries, qrels = (folder / name for name in FOLDERS)
    parts = Parts(
        nanobeir_documents(folder, DocumentLimits(max_chars, max_chars, empty=True)),
        _queries(queries, max_chars),
        _judgements(qrels, max_chars),
        (corpus, queries, qrels),
    )
    return gather(folder.resolve().name, parts, on_problem)


def nanobeir_documents(
    folder: Path, limits: DocumentLimits
) -> Iterator[tuple[Path, int, Document | Refused]]:
    """Documents with their file and row."""
    for path, number, row in _rows(folder / FOLDERS[0], limits.text):
        if isinstance(row, Refused):
            yield path, number, row
            continue
        # In Parquet, an empty string may be a null.
        title, text = ("" if row.get(name, "") is None else row.get(name) for name in _TEXTS)
        try:
            document = make_document(row.get("_id"), text, title or "", {}, limits)
        except InvalidInputError as error:
            field = "_id" if error.field == "id" else error.field
            yield path, number, Refused(shown(path), number, field, str(error))
        else:
            yield path, number, document


def _queries(folder: Path, max_chars: int) -> Iterator[tuple[Path, int, Query | Refused]]:
    for path, number, row in _rows(folder, max_chars):
        if isinstance(row, Refused):
            yield path, number, row
            continue
        try:
            yield path, number, make_query(row.get("_id"), row.get("text"), max_chars)
        except InvalidInputError as error:
            yield path, number, Refused(shown(path), number, error.field, str(error))


def _judgements(folder: Path, max_chars: int) -> Iterator[tuple[Path, int, Judgement | Refused]]:
    for path, number, row in _rows(folder, max_chars):
        if isinstance(row, Refused):
            yield path, number, row
            continue
        query, document = row.get("query-id"), row.get("corpus-id")
        yield path, number, Judgement(str(query), str(document), str(row.get("score", 1)))


def _rows(folder: Path, max_chars: int) -> _Rows:
    for path in _files(folder):
        if path.suffix.lower() == ".parquet":
            yield from _parquet(path)
        else:
            yield from ((path, number, row) for number, row in read_json_lines(path, max_chars))


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise InvalidInputError(
            f"{shown(folder)}: holds no file named {', '.join(_SUFFIXES)}", "path"
        )
    return found


def _parquet(path: Path) -> _Rows:
    try:
        import pyarrow  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise SecondpassError(
            f"{shown(path)}: Parquet needs the package pyarrow: {install_command('train')}"
        ) from error
    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield path, number, row
    except pyarrow.ArrowException as error:
        raise InvalidInputError(f"{shown(path)}: not a Parquet file: {error}", "path") from error
