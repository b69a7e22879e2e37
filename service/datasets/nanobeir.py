"""NanoBEIR's layout: folders `corpus`, `queries` and `qrels` of Parquet files or JSON lines.

The columns are `_id`, `text` and optionally `title`, or `query-id`, `corpus-id` and optionally
`score`; without it, every judgement says 1. In a Parquet file, a row's number is its line.
"""

from functools import partial
from pathlib import Path
from typing import Any

from service.datasets.beir import query_of
from service.datasets.labels import Files, Judgement, Query
from service.documents.lines import Numbered, parsed, read_json_lines, shown
from service.documents.rows import check_id, make_document, required
from service.errors import InvalidInputError, SecondpassError
from service.extras import install_command
from service.types import Document, DocumentLimits

_FOLDERS = ("corpus", "queries", "qrels")
_SUFFIXES = (".parquet", ".jsonl", ".ndjson")


def find_files(folder: Path) -> Files | None:
    folders = [folder / name for name in _FOLDERS]
    return Files(*map(_files, folders)) if all(path.is_dir() for path in folders) else None


def read_documents(path: Path, limits: DocumentLimits) -> Numbered[Document]:
    """Documents without metadata."""
    return parsed(path, _rows(path, limits.text), partial(_document, limits=limits))


def read_queries(path: Path, max_chars: int) -> Numbered[Query]:
    return parsed(path, _rows(path, max_chars), partial(query_of, max_chars=max_chars))


def read_judgements(path: Path, max_chars: int) -> Numbered[Judgement]:
    return parsed(path, _rows(path, max_chars), _judgement)


def _document(row: dict[str, Any], limits: DocumentLimits) -> Document:
    id_, text = check_id(row.get("_id"), "_id"), required(row, "text")
    # In Parquet, an empty string may be a null.
    return make_document(id_, "" if text is None else text, row.get("title"), {}, limits)


def _judgement(row: dict[str, Any]) -> Judgement:
    query, document = row.get("query-id"), row.get("corpus-id")
    return Judgement(str(query), str(document), str(row.get("score", 1)))


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise InvalidInputError(
            f"{shown(folder)}: holds no file named {', '.join(_SUFFIXES)}", "path"
        )
    return found


def _rows(path: Path, max_chars: int) -> Numbered[dict[str, Any]]:
    is_parquet = path.suffix.lower() == ".parquet"
    return _parquet_rows(path) if is_parquet else read_json_lines(path, max_chars)


def _parquet_rows(path: Path) -> Numbered[dict[str, Any]]:
    try:
        import pyarrow  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise SecondpassError(
            f"{shown(path)}: Parquet needs the package pyarrow: {install_command('train')}"
        ) from error
    try:
        batches = parquet.ParquetFile(path).iter_batches()
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except pyarrow.ArrowException as error:
        raise InvalidInputError(f"{shown(path)}: not a Parquet file: {error}", "path") from error
