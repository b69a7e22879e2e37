"""From a path to a labelled collection, whichever layout it has."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from service.datasets.beir import beir_files, read_beir
from service.datasets.labels import Collection
from service.datasets.nanobeir import (
    is_nanobeir,
    nanobeir_documents,
    nanobeir_files,
    read_nanobeir,
)
from service.datasets.problems import OnProblem, existing, stop
from service.datasets.trec import find_trec, read_trec, trec_documents
from service.documents.files import corpus_file
from service.documents.lines import shown
from service.documents.rows import MAX_CHARS, Row
from service.errors import InvalidInputError
from service.types import DocumentLimits

Layout = Literal["beir", "nanobeir", "trec"]


def layout_of(folder: Path) -> Layout:
    """How a folder is laid out. Raises `InvalidInputError` where it is none of the three."""
    if not folder.is_dir():
        raise InvalidInputError(f"{shown(folder)}: there is no such folder", "path")
    if is_nanobeir(folder):
        return "nanobeir"
    if corpus_file(folder).exists():
        return "beir"
    if find_trec(folder) is not None:
        return "trec"
    if (folder / "queries.jsonl").exists() or (folder / "qrels.tsv").exists():
        return "beir"  # with a file missing, which the reader names
    raise InvalidInputError(
        f"{shown(folder)}: holds no labelled collection: neither corpus.jsonl, queries.jsonl and "
        "qrels.tsv (BEIR), nor folders corpus, queries and qrels (NanoBEIR), nor documents, topics "
        "and qrels under TREC's usual names (corpus.trec or corpus.tsv, topics.txt or queries.tsv, "
        "qrels.txt)",
        "path",
    )


def open_collection(
    folder: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> Collection:
    """A labelled collection in BEIR's, NanoBEIR's or TREC's layout, named after its folder.

    Raises `InvalidInputError` for a folder of another kind or with a file missing and, unless
    `on_problem` is told of them, for the first row that is wrong, with file, line and field.
    """
    layout = layout_of(folder)
    if layout == "nanobeir":
        return read_nanobeir(folder, max_chars=max_chars, on_problem=on_problem)
    if layout == "beir":
        return read_beir(folder, max_chars=max_chars, on_problem=on_problem)
    files = find_trec(folder)
    if files is None:
        raise InvalidInputError(f"{shown(folder)}: its files are gone", "path")
    return read_trec(files, folder.resolve().name, max_chars=max_chars, on_problem=on_problem)


def labelled_documents(folder: Path, limits: DocumentLimits) -> Iterator[Row] | None:
    """The documents of a NanoBEIR or TREC folder; None for any other."""
    if is_nanobeir(folder):
        return (row for _, _, row in nanobeir_documents(folder, limits))
    if not corpus_file(folder).exists() and (files := find_trec(folder)) is not None:
        return (row for _, _, row in trec_documents(files[0], limits))
    return None


def data_sha256(path: Path) -> str:
    """SHA-256 over the digests of a collection's files, in their order: equal for equal data.

    Of a file (rows, pairs, levels), over that file. Raises `InvalidInputError` as
    `open_collection` does.
    """
    digest = hashlib.sha256()
    for file_path in _files(path):
        with file_path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [existing(path)]
    layout = layout_of(path)
    if layout == "nanobeir":
        return nanobeir_files(path)
    trec = find_trec(path) if layout == "trec" else None
    return list(trec or beir_files(path))
