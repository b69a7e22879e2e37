"""From a path to its labelled collection, or to its documents alone, in any layout."""

import hashlib
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from service.datasets import beir, nanobeir, trec
from service.datasets.labels import Collection, Files, Layout, gather
from service.datasets.problems import OnProblem, existing, stop
from service.documents import files
from service.documents.csv_file import CSV, CsvFormat
from service.documents.lines import shown
from service.documents.rows import MAX_CHARS, Row
from service.errors import InvalidInputError
from service.types import DocumentLimits

_LIMITS = DocumentLimits()
_LAYOUTS: tuple[Layout, ...] = (nanobeir, trec, beir)
"""The first layout whose files are in a folder reads it."""


def open_collection(
    folder: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> Collection:
    """A labelled collection in BEIR's, NanoBEIR's or TREC's layout, named after its folder.

    Raises `InvalidInputError` for a folder of another kind and for a missing file. For the first
    wrong row (file, line and field) it raises too, unless `on_problem` takes such rows.
    """
    layout, found = _layout(folder)
    return gather(folder.resolve().name, layout, found, max_chars, on_problem)


def data_sha256(path: Path) -> str:
    """SHA-256 over the digests of a collection's files, in their order: equal for equal data.

    For a single file (rows, pairs, levels), over that file. Raises `InvalidInputError` as
    `open_collection` does.
    """
    paths = chain.from_iterable(_layout(path)[1]) if path.is_dir() else [existing(path)]
    digest = hashlib.sha256()
    for file_path in paths:
        with file_path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_documents(
    path: Path,
    limits: DocumentLimits = _LIMITS,
    *,
    last_only: bool = False,
    csv: CsvFormat = CSV,
) -> Iterator[Row]:
    """The documents of a NanoBEIR or TREC folder, or what `documents.files.read_files` reads."""
    labelled = _labelled(path, limits)
    if labelled is not None:
        return labelled
    return files.read_files(path, limits, last_only=last_only, csv=csv)


def count_rows(path: Path) -> int:
    """About how many rows `read_documents` will yield, quickly. Raises as it does."""
    labelled = _labelled(path, _LIMITS)
    return files.count_rows(path) if labelled is None else sum(1 for _ in labelled)


def unread_files(path: Path) -> str:
    """As `documents.files.unread_files`; empty for a labelled collection."""
    return files.unread_files(path) if _labelled(path, _LIMITS) is None else ""


def _layout(folder: Path) -> tuple[Layout, Files]:
    if not folder.is_dir():
        raise InvalidInputError(f"{shown(folder)}: there is no such folder", "path")
    for layout in _LAYOUTS:
        if (found := layout.find_files(folder)) is not None:
            return layout, found
    raise InvalidInputError(
        f"{shown(folder)}: holds no labelled collection: neither corpus.jsonl, queries.jsonl and "
        "qrels.tsv (BEIR), nor folders corpus, queries and qrels (NanoBEIR), nor documents, topics "
        "and qrels under TREC's usual names (corpus.trec or corpus.tsv, topics.txt or queries.tsv, "
        "qrels.txt)",
        "path",
    )


def _labelled(path: Path, limits: DocumentLimits) -> Iterator[Row] | None:
    """The documents of a labelled folder; None for BEIR's, whose corpus.jsonl is an ordinary file.

    For a name that the system does not allow, `os.path.isdir` is false where `Path.is_dir` raises.
    """
    for layout in _LAYOUTS if os.path.isdir(path) else ():  # noqa: PTH112
        if layout is not beir and (found := layout.find_files(path)) is not None:
            read = layout.read_documents
            return (row for file in found.documents for _, row in read(file, limits))
    return None
