"""A document and its passages as rows of the tables, and back."""

import json
import sqlite3
from collections.abc import Collection

import numpy as np

from service.errors import InferenceError, UnprocessableTextError
from service.index.filters import is_unicode, metadata_rows
from service.index.records import EncodedDocument, content_hash
from service.types import Document, StoredPassage

VECTOR_DTYPE = np.dtype("<f4")
"""How vectors are stored, on any machine."""


def check_document(row: EncodedDocument, dimension: int) -> None:
    """Raise `UnprocessableTextError`, `InferenceError` or `ValueError` for an unfit row."""
    document, spans, vectors = row
    for field, text in (("id", document.id), ("title", document.title), ("text", document.text)):
        if not is_unicode(text):
            raise UnprocessableTextError(f"{field} is not valid Unicode", field)
    if vectors.shape != (len(spans), dimension) or vectors.dtype != np.float32:
        raise ValueError(
            f"document {document.id!r}: vectors are {vectors.dtype} {vectors.shape}, "
            f"wanted float32 {(len(spans), dimension)}"
        )
    if not np.isfinite(vectors).all():
        raise InferenceError(f"document {document.id!r}: a vector is not finite")
    if any(not 0 <= start <= end <= len(document.text) for start, end in spans):
        raise ValueError(f"document {document.id!r}: a span reaches beyond the text")


def put_document(connection: sqlite3.Connection, row: EncodedDocument) -> None:
    """Write `row` in place of any document of the same id; its passages get new ids."""
    document, spans, vectors = row
    metadata = metadata_rows(document.metadata)
    connection.execute(
        "INSERT INTO documents (id, content_hash, title, metadata, text) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET content_hash = excluded.content_hash, "
        "title = excluded.title, metadata = excluded.metadata, text = excluded.text",
        [
            document.id,
            content_hash(document),
            document.title,
            json.dumps(document.metadata, ensure_ascii=False),
            document.text,
        ],
    )
    (number,) = connection.execute(
        "SELECT number FROM documents WHERE id = ?", [document.id]
    ).fetchone()
    connection.execute("DELETE FROM passages WHERE document = ?", [number])
    connection.executemany(
        'INSERT INTO passages (document, ordinal, start, "end", vector) VALUES (?, ?, ?, ?, ?)',
        [
            (number, ordinal, span.start, span.end, vector.astype(VECTOR_DTYPE).tobytes())
            for ordinal, (span, vector) in enumerate(zip(spans, vectors, strict=True))
        ],
    )
    connection.execute("DELETE FROM metadata WHERE document = ?", [number])
    connection.executemany(
        "INSERT OR IGNORE INTO metadata VALUES (?, ?, ?, ?)",
        [(*row, number) for row in metadata],
    )


def read_passages(connection: sqlite3.Connection, ids: Collection[int]) -> list[StoredPassage]:
    """The passages among `ids` that are here, in any order."""
    rows = connection.execute(
        'SELECT id, document, start, "end" FROM passages '
        "WHERE id IN (SELECT value FROM json_each(?))",
        [_json_of(ids)],
    ).fetchall()
    documents = {
        number: Document(id_, text, title, json.loads(metadata))
        for number, id_, title, metadata, text in connection.execute(
            "SELECT number, id, title, metadata, text FROM documents "
            "WHERE number IN (SELECT value FROM json_each(?))",
            [_json_of({number for _, number, _, _ in rows})],
        )
    }
    # Cut here and not by SQL's substr, which ends at a NUL character.
    return [
        StoredPassage(
            id=id_,
            document_id=(document := documents[number]).id,
            title=document.title,
            text=document.text[start:end],
            start=start,
            end=end,
            metadata=document.metadata,
        )
        for id_, number, start, end in rows
    ]


def _json_of(numbers: Collection[int]) -> str:
    return json.dumps([int(number) for number in numbers])
