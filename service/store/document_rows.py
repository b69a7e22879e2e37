"""Documents and their passages as rows of the tables: what write transactions are made of."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np

from service.documents.rows import is_unicode
from service.errors import InferenceError, InvalidInputError, UnprocessableTextError
from service.store import lexical
from service.store.metadata_values import MetadataRow, metadata_rows
from service.types import Document, EncodedDocument, StagedDocument, StoredRow, Written

VECTOR_DTYPE = np.dtype("<f4")
"""How vectors are stored, on any machine."""

SET_ASIDE = (
    "(SELECT document FROM unfinished JOIN documents ON number = document "
    "WHERE id = ? AND staged = 1 AND version = ?)"
)
"""The row's number of a staged document that is encoded in slices; NULL for any other."""


class DocumentRow(NamedTuple):
    """A document with all that its row and its metadata's rows need.

    It is made before the transaction, because other writers wait while one is under way.
    """

    document: Document
    content_hash: str
    metadata: str
    values: list[MetadataRow]

    @classmethod
    def of(cls, document: Document) -> Self:
        """Raise `InvalidInputError` for what cannot be stored unchanged."""
        for field, text in (
            ("id", document.id),
            ("title", document.title),
            ("text", document.text),
        ):
            if not is_unicode(text):
                raise UnprocessableTextError(f"{field} is not valid Unicode", field)
        values = metadata_rows(document.metadata)
        metadata = json.dumps(document.metadata, ensure_ascii=False)
        return cls(document, document.content_hash, metadata, values)


def check_passages(row: EncodedDocument, dimension: int) -> None:
    """Raise `InferenceError` or `ValueError` for passages that do not fit text or encoder."""
    document, spans, vectors = row[:3]
    if vectors.shape != (len(spans), dimension) or vectors.dtype != np.float32:
        raise ValueError(
            f"document {document.id!r}: vectors are {vectors.dtype} {vectors.shape}, "
            f"wanted float32 {(len(spans), dimension)}"
        )
    if not np.isfinite(vectors).all():
        raise InferenceError(f"document {document.id!r}: a vector is not finite")
    if any(not 0 <= start <= end <= len(document.text) for start, end in spans):
        raise ValueError(f"document {document.id!r}: a span reaches beyond the text")
    if row.title_end is not None and not 0 <= row.title_end <= len(document.title):
        raise ValueError(f"document {document.id!r}: title_end reaches beyond the title")


def put_document(
    connection: sqlite3.Connection, row: DocumentRow, encoded: EncodedDocument
) -> list[int]:
    """Write `row` in place of both versions of the document; returns the passages' new ids."""
    connection.execute("DELETE FROM documents WHERE id = ?", [row.document.id])
    number = _insert_document(connection, row, next_version(connection), staged=False)
    return _insert_passages(connection, number, encoded)


def restore_row(connection: sqlite3.Connection, row: StoredRow, dimension: int) -> None:
    """Write a row with its own version.

    Raises `InvalidInputError` for what cannot be stored, and for a second row of one kind and id.
    """
    document = row.document
    encoded = EncodedDocument(document, row.spans, row.vectors, row.title_end)
    prepared = DocumentRow.of(document)
    try:
        check_passages(encoded, dimension)
    except ValueError as error:
        raise InvalidInputError(str(error)) from error
    if row.staged and row.spans:
        raise InvalidInputError(f"document {document.id!r} is staged and has passages")
    try:
        number = _insert_document(connection, prepared, row.version, staged=row.staged)
    except sqlite3.IntegrityError as error:
        raise InvalidInputError(f"document {document.id!r} is there twice") from error
    _insert_passages(connection, number, encoded)


def stage_document(connection: sqlite3.Connection, row: DocumentRow) -> Written:
    """Write a document for later encoding; searches see the previous version until then.

    If only the metadata is new, nothing is to be encoded and searches see it at once.
    """
    document = row.document
    rows = {
        staged: (number, version, stored_hash, problem, (title, text))
        for number, staged, version, stored_hash, problem, title, text in connection.execute(
            "SELECT number, staged, version, content_hash, problem, title, text "
            "FROM documents WHERE id = ?",
            [document.id],
        )
    }
    last = rows.get(1) or rows.get(0)
    if last and last[2] == row.content_hash and last[3] is None:
        return Written(document.id, last[1], created=False, unchanged=True)
    version = next_version(connection)
    seen, waiting = rows.get(0), rows.get(1)
    content = (document.title, document.text)
    kept = None
    if seen and seen[4] == content:
        kept = seen
    elif waiting and waiting[4] == content and waiting[3] is None:
        kept = waiting  # some of its passages may be encoded
    if waiting and kept is not waiting:
        connection.execute("DELETE FROM documents WHERE id = ? AND staged = 1", [document.id])
    if kept:
        _replace_metadata(connection, kept[0], row, version)
    else:
        _insert_document(connection, row, version, staged=True)
    return Written(document.id, version, created=last is None, unchanged=False)


def publish_document(
    connection: sqlite3.Connection, staged: StagedDocument, row: EncodedDocument
) -> list[int]:
    """Let searches see a staged document, unless it was written again or deleted.

    Returns the ids of its passages.
    """
    found = connection.execute(
        "SELECT number FROM documents WHERE id = ? AND staged = 1 AND version = ?",
        [staged.document.id, staged.version],
    ).fetchone()
    if found is None:
        return []
    connection.execute("DELETE FROM documents WHERE id = ? AND staged = 0", [staged.document.id])
    connection.execute(
        "UPDATE documents SET staged = 0, problem = NULL WHERE number = ?", [found[0]]
    )
    connection.execute("DELETE FROM unfinished WHERE document = ?", [found[0]])
    return _insert_passages(connection, found[0], row)


def passage_rows(
    number: int, row: EncodedDocument, first: int = 0
) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Rows of passages, the first of them at place `first` of the document with this number."""
    for place, (span, vector) in enumerate(zip(row.spans, row.vectors, strict=True), first):
        yield number, place, span.start, span.end, vector.astype(VECTOR_DTYPE).tobytes()


def _insert_document(
    connection: sqlite3.Connection, row: DocumentRow, version: int, *, staged: bool
) -> int:
    """A new row and its metadata; returns the row's number."""
    document = row.document
    cursor = connection.execute(
        "INSERT INTO documents (id, staged, version, content_hash, title, metadata, text) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            document.id,
            staged,
            version,
            row.content_hash,
            document.title,
            row.metadata,
            document.text,
        ],
    )
    number = int(cursor.lastrowid or 0)
    _insert_metadata(connection, number, row.values)
    return number


def _insert_passages(
    connection: sqlite3.Connection, number: int, row: EncodedDocument
) -> list[int]:
    """Write passages with their vectors and words; returns their ids."""
    document = row.document
    connection.execute(
        "UPDATE documents SET title_end = ? WHERE number = ?", [row.title_end, number]
    )
    connection.executemany(
        'INSERT INTO passages (document, ordinal, start, "end", vector) VALUES (?, ?, ?, ?, ?)',
        passage_rows(number, row),
    )
    found = connection.execute(
        "SELECT id FROM passages WHERE document = ? ORDER BY ordinal", [number]
    )
    ids = [id_ for (id_,) in found]
    pieces = [document.text[span.start : span.end] for span in row.spans]
    lexical.insert(
        connection, ((id_, document.title, piece) for id_, piece in zip(ids, pieces, strict=True))
    )
    return ids


def next_version(connection: sqlite3.Connection) -> int:
    """Count the store's revision up by one and return it."""
    row = connection.execute(
        "UPDATE meta SET value = value + 1 WHERE name = 'revision' RETURNING value"
    ).fetchone()
    return int(row[0])


def json_of(values: Collection[int]) -> str:
    """Values for SQL's `json_each`, which takes any number of them as one parameter."""
    return json.dumps(list(values))


def _replace_metadata(
    connection: sqlite3.Connection, number: int, row: DocumentRow, version: int
) -> None:
    connection.execute(
        "UPDATE documents SET metadata = ?, content_hash = ?, version = ? WHERE number = ?",
        [row.metadata, row.content_hash, version, number],
    )
    connection.execute("DELETE FROM metadata WHERE document = ?", [number])
    _insert_metadata(connection, number, row.values)


def _insert_metadata(
    connection: sqlite3.Connection, number: int, values: Sequence[MetadataRow]
) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO metadata VALUES (?, ?, ?, ?)", [(*value, number) for value in values]
    )
