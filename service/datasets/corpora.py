"""The documents of any path: a file, a plain folder, or a labelled collection."""

import os
from collections.abc import Iterator
from pathlib import Path

from service.datasets.layouts import labelled_documents
from service.documents import files
from service.documents.rows import Row
from service.types import DocumentLimits

_LIMITS = DocumentLimits()


def read_documents(
    path: Path, limits: DocumentLimits = _LIMITS, *, last_only: bool = False
) -> Iterator[Row]:
    """The documents of a NanoBEIR or TREC folder, else as `service.documents.files.read_files`."""
    labelled = _labelled(path, limits)
    return files.read_files(path, limits, last_only=last_only) if labelled is None else labelled


def count_rows(path: Path) -> int:
    """About how many rows `read_documents` will give, quickly. Raises as it does."""
    labelled = _labelled(path, _LIMITS)
    return files.count_rows(path) if labelled is None else sum(1 for _ in labelled)


def unread_files(path: Path) -> str:
    """As `service.documents.files.unread_files`; empty for a labelled collection."""
    return files.unread_files(path) if _labelled(path, _LIMITS) is None else ""


def _labelled(path: Path, limits: DocumentLimits) -> Iterator[Row] | None:
    # Of a name that no system allows, `os.path.isdir` says False where `Path.is_dir` raises.
    return labelled_documents(path, limits) if os.path.isdir(path) else None  # noqa: PTH112
