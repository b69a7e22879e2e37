"""All rows of a store, to take them into another one."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidInputError, StoreError
from service.store.document_rows import (
    VECTOR_DTYPE,
    check_document,
    check_passages,
    insert_document,
    insert_passages,
)
from service.store.records import EncodedDocument
from service.store.store_view import StoreView
from service.types import Document, Span, Vectors


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A document's row with its passages: the spans, and their vectors as the store holds them."""

    document: Document
    version: int
    staged: bool
    spans: list[tuple[int, int]]
    vectors: bytes
    title_end: int | None

    def line(self) -> bytes:
        """All but the vectors as a line of JSON."""
        document = self.document
        fields = {
            "id": document.id,
            "title": document.title,
            "text": document.text,
            "metadata": document.metadata,
            "version": self.version,
            "staged": self.staged,
            "spans": self.spans,
            "title_end": self.title_end,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class RestoredRow:
    """The same on its way into a store: vectors are float32 (n_spans, dimension)."""

    document: Document
    version: int
    staged: bool
    spans: Sequence[Span]
    vectors: Vectors
    title_end: int | None = None


def stored_rows(view: StoreView, dimension: int) -> Iterator[StoredRow]:
    """Every row of the store, one at a time. Raises `StoreError` for a damaged vector."""
    rows = view.connection.execute(
        "SELECT number, id, staged, version, title, title_end, metadata, text FROM documents "
        "ORDER BY number"
    )
    for number, id_, staged, version, title, title_end, metadata, text in rows:
        passages = view.connection.execute(
            'SELECT start, "end", vector FROM passages WHERE document = ? ORDER BY ordinal',
            [number],
        ).fetchall()
        if any(len(vector) != dimension * VECTOR_DTYPE.itemsize for *_, vector in passages):
            raise StoreError(f"the store is damaged: document {id_!r} has a vector of another size")
        yield StoredRow(
            Document(id_, text, title, json.loads(metadata)),
            version,
            bool(staged),
            [(start, end) for start, end, _ in passages],
            b"".join(vector for *_, vector in passages),
            title_end,
        )


def insert_row(connection: sqlite3.Connection, row: RestoredRow, dimension: int) -> None:
    """Write a row with the version that it has.

    Raises `InvalidInputError` where one like it is there, and for what cannot be stored.
    """
    document = row.document
    check_document(document)
    try:
        check_passages(EncodedDocument(document, row.spans, row.vectors, row.title_end), dimension)
    except ValueError as error:
        raise InvalidInputError(str(error)) from error
    if row.staged and row.spans:
        raise InvalidInputError(f"document {document.id!r} is staged and has passages")
    try:
        number = insert_document(connection, document, row.version, staged=row.staged)
    except sqlite3.IntegrityError as error:
        raise InvalidInputError(f"document {document.id!r} is there twice") from error
    insert_passages(connection, number, row.spans, row.vectors, row.title_end)


def are_unit(vectors: Vectors) -> bool:
    """Is each row of length 1, as far as float32 goes, and so finite?"""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return bool((np.abs(lengths - 1.0) < 1e-3).all())
