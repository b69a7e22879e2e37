"""Long documents on their way: the vectors made so far, until searches see all of a document.

They are no passages yet: no search finds them, and no snapshot has them.
"""

import json
import sqlite3
from collections.abc import Sequence

import numpy as np

from service.store.document_rows import VECTOR_DTYPE
from service.store.records import StagedDocument
from service.types import Document, Span, Vectors

TABLES = (
    """CREATE TABLE unfinished (
        document INTEGER PRIMARY KEY REFERENCES documents (number) ON DELETE CASCADE,
        chars INTEGER NOT NULL
    )""",
    """CREATE TABLE unfinished_passages (
        document INTEGER NOT NULL REFERENCES unfinished (document) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (document, ordinal)
    ) WITHOUT ROWID""",
)

_ROW = "SELECT id, text, title, metadata, version FROM documents"
_WAITS = "staged = 1 AND problem IS NULL"


def fresh(
    connection: sqlite3.Connection, limit: int, *, newest: bool = False
) -> list[StagedDocument]:
    """At most `limit` documents that wait and are not set aside, the oldest or newest in front."""
    rows = connection.execute(
        f"{_ROW} WHERE {_WAITS} AND number NOT IN (SELECT document FROM unfinished) "  # noqa: S608
        f"ORDER BY version {'DESC' if newest else ''} LIMIT ?",
        [limit],
    )
    return [_staged(row) for row in rows]


def set_aside(connection: sqlite3.Connection, documents: Sequence[StagedDocument]) -> None:
    """Let these be encoded in slices; one that was written again or deleted is passed over."""
    connection.executemany(
        "INSERT OR IGNORE INTO unfinished SELECT number, ? FROM documents "
        "WHERE id = ? AND staged = 1 AND version = ?",
        [(len(one.document.text), one.document.id, one.version) for one in documents],
    )


def next_one(connection: sqlite3.Connection, *, shortest: bool) -> StagedDocument | None:
    """The oldest or the shortest of those that are set aside."""
    # By number first: sorted beside them, SQLite would read the texts of all of them. The cross
    # join begins with these few, not with all that waits.
    row = connection.execute(
        f"{_ROW} WHERE number = (SELECT number FROM unfinished CROSS JOIN documents "  # noqa: S608
        f"ON number = document WHERE {_WAITS} "
        f"ORDER BY {'chars, ' if shortest else ''} version LIMIT 1)"
    ).fetchone()
    return _staged(row) if row else None


def count(connection: sqlite3.Connection, staged: StagedDocument) -> int:
    """How many of its passages have their vectors."""
    row = connection.execute(
        "SELECT count(*) FROM unfinished_passages WHERE document = ?", [_number(connection, staged)]
    ).fetchone()
    return int(row[0])


def made(connection: sqlite3.Connection, staged: StagedDocument) -> tuple[list[Span], Vectors]:
    """Its first passages: their spans, and their vectors, float32 (n_spans, dimension)."""
    rows = connection.execute(
        'SELECT start, "end", vector FROM unfinished_passages WHERE document = ? ORDER BY ordinal',
        [_number(connection, staged)],
    ).fetchall()
    vectors = [np.frombuffer(vector, VECTOR_DTYPE).astype(np.float32) for *_, vector in rows]
    return [Span(start, end) for start, end, _ in rows], np.array(vectors, np.float32)


def add(
    connection: sqlite3.Connection,
    staged: StagedDocument,
    first: int,
    spans: Sequence[Span],
    vectors: Vectors,
) -> None:
    """Keep the vectors of its passages from `first` on; nothing where it was written again."""
    number = _number(connection, staged)
    if number is None:
        return
    connection.executemany(
        "INSERT OR REPLACE INTO unfinished_passages VALUES (?, ?, ?, ?, ?)",
        [
            (number, first + place, span.start, span.end, vector.astype(VECTOR_DTYPE).tobytes())
            for place, (span, vector) in enumerate(zip(spans, vectors, strict=True))
        ],
    )


def forget(connection: sqlite3.Connection, staged: StagedDocument) -> None:
    """Begin it from its first passage again, or no more."""
    connection.execute(
        "DELETE FROM unfinished_passages WHERE document = ?", [_number(connection, staged)]
    )


def _number(connection: sqlite3.Connection, staged: StagedDocument) -> int | None:
    row = connection.execute(
        "SELECT number FROM documents JOIN unfinished ON document = number "
        "WHERE id = ? AND staged = 1 AND version = ?",
        [staged.document.id, staged.version],
    ).fetchone()
    return row[0] if row else None


def _staged(row: tuple[str, str, str, str, int]) -> StagedDocument:
    id_, text, title, metadata, version = row
    return StagedDocument(Document(id_, text, title, json.loads(metadata)), version)
