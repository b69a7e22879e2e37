"""Documents, their passages and the passages' vectors, in one SQLite file: the source of truth."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from service.errors import StoreError
from service.index import encoder_identity
from service.index.database import Database
from service.index.filters import is_unicode, matching_documents
from service.index.records import Counts, EncodedDocument, GenerationRecord
from service.index.rows import VECTOR_DTYPE, check_document, put_document, read_passages
from service.types import Document, EncoderIdentity, Filters, Ids, StoredPassage, Vectors


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store as it was at one moment, whatever is written meanwhile. Use it in one thread."""

    connection: sqlite3.Connection
    revision: int
    counts: Counts
    dimension: int

    def vectors(self, batch: int) -> Iterator[tuple[Ids, Vectors]]:
        """All passages in the order of their ids: int64 (n,) and float32 (n, dim), n <= `batch`."""
        cursor = self.connection.execute("SELECT id, vector FROM passages ORDER BY id")
        while rows := cursor.fetchmany(batch):
            ids, blobs = zip(*rows, strict=True)
            if set(map(len, blobs)) != {self.dimension * VECTOR_DTYPE.itemsize}:
                raise StoreError(
                    f"the store is damaged: a vector among passages {ids[0]} to {ids[-1]} does not "
                    f"have {self.dimension} dimensions; restore it from a backup"
                )
            flat = np.frombuffer(b"".join(blobs), VECTOR_DTYPE).astype(np.float32)
            yield np.array(ids, np.int64), flat.reshape(-1, self.dimension)


class DocumentStore:
    """One SQLite file. Safe to use from several threads; what a method wrote is on the disk.

    Every method may raise `StoreError` (disk full, read-only, damaged) or `StoreLockedError`. A
    write that raises has changed nothing.
    """

    def __init__(self, path: Path) -> None:
        self._data_dir = path.parent
        self._database = Database(path)

    def close(self) -> None:
        """Fold the write-ahead log into the file and let it go."""
        self._database.close()

    def put(self, rows: Sequence[EncodedDocument]) -> None:
        """Store all of `rows` or none; each replaces a document of the same id.

        Passages always get new ids. Raises `InvalidInputError` for text or metadata that cannot be
        stored unchanged, `InferenceError` for a vector that is not finite, `ValueError` for spans
        and vectors that do not fit the text or the encoder.
        """
        if not rows:
            return
        with self._database.writing() as connection:
            stored = encoder_identity.read(connection)
            if stored is None:
                raise ValueError("set_identity() must come before the first put()")
            for row in rows:
                check_document(row, stored.dimension)
                put_document(connection, row)
            _count_revision(connection)

    def delete(self, ids: Collection[str]) -> int:
        """Remove documents and their passages; ids that are not there are passed over.

        Returns how many were there.
        """
        with self._database.writing() as connection:
            removed = sum(
                connection.execute("DELETE FROM documents WHERE id = ?", [id_]).rowcount
                for id_ in ids
                if is_unicode(id_)
            )
            if removed:
                _count_revision(connection)
        return removed

    def content_hashes(self, ids: Collection[str]) -> dict[str, str]:
        """`content_hash` of the documents among `ids` that are here with all their passages."""
        query = "SELECT content_hash FROM documents WHERE id = ? AND content_hash IS NOT NULL"
        with self._database.reading() as connection:
            found = {
                id_: connection.execute(query, [id_]).fetchone() for id_ in ids if is_unicode(id_)
            }
        return {id_: row[0] for id_, row in found.items() if row}

    def passages(self, ids: Collection[int]) -> dict[int, StoredPassage]:
        """The passages among `ids` that are (still) here."""
        with self._database.reading() as connection:
            return {passage.id: passage for passage in read_passages(connection, ids)}

    def allowed(self, filters: Filters) -> Ids:
        """Ids, ascending, of the passages whose document satisfies every field of `filters`.

        A single value must be equal, of a list one must be; a list in the metadata satisfies with
        any of its elements. A field that a document lacks never does. No filters: all passages.
        Raises `InvalidInputError` for a filter beyond the limits.
        """
        where, parameters = "", []
        if filters:
            condition = matching_documents(filters)
            where, parameters = f"WHERE document IN ({condition.sql})", condition.parameters
        with self._database.reading() as connection:
            # `where` has names of ours and question marks only.
            query = f"SELECT id FROM passages {where} ORDER BY id"  # noqa: S608
            cursor = connection.execute(query, parameters)
            return np.fromiter((id_ for (id_,) in cursor), np.int64)

    def counts(self) -> Counts:
        """How many documents and passages there are."""
        with self._database.reading() as connection:
            return _read_counts(connection)

    def revision(self) -> int:
        """A number that grows with each write of documents or passages."""
        with self._database.reading() as connection:
            return _read_revision(connection)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """A view of this moment, for building an index from it."""
        with self._database.reading() as connection:
            stored = encoder_identity.read(connection)
            yield Snapshot(
                connection,
                _read_revision(connection),
                _read_counts(connection),
                stored.dimension if stored else 0,
            )

    def identity(self) -> EncoderIdentity | None:
        """The encoder that made the vectors; None before `set_identity`."""
        with self._database.reading() as connection:
            return encoder_identity.read(connection)

    def set_identity(self, wanted: EncoderIdentity) -> None:
        """Store the encoder's identity the first time; afterwards insist on the same one.

        Raises `IndexMismatchError` that says what differs and what to run.
        """
        with self._database.writing() as connection:
            stored = encoder_identity.read(connection)
            if stored is None:
                encoder_identity.write(connection, wanted)
            else:
                encoder_identity.require_same(stored, wanted, self._data_dir)

    def start_over(self, wanted: EncoderIdentity) -> None:
        """Drop every passage and take another encoder's identity; the documents stay.

        Each has to be encoded and put again: see `documents_to_encode`.
        """
        with self._database.writing() as connection:
            connection.execute("DELETE FROM passages")
            connection.execute("UPDATE documents SET content_hash = NULL")
            encoder_identity.write(connection, wanted)
            _count_revision(connection)

    def documents_to_encode(self, limit: int) -> list[Document]:
        """At most `limit` documents that have no passages of the present encoder yet.

        Not empty after a `start_over` that was not carried through, however the process ended.
        """
        with self._database.reading() as connection:
            return [
                Document(id_, text, title, json.loads(metadata))
                for id_, title, metadata, text in connection.execute(
                    "SELECT id, title, metadata, text FROM documents "
                    "WHERE content_hash IS NULL ORDER BY number LIMIT ?",
                    [limit],
                )
            ]

    def generation(self) -> GenerationRecord | None:
        """The index folder that is current, or None before the first."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT name, revision, created FROM generations").fetchone()
            if row is None:
                return None
            name, revision, created = row
            files = connection.execute(
                "SELECT file, sha256 FROM generation_files WHERE generation = ?", [name]
            )
            return GenerationRecord(name, revision, datetime.fromisoformat(created), dict(files))

    def set_generation(self, record: GenerationRecord) -> None:
        """Make `record` the current one and forget the one before: the swap, in one transaction."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM generations")
            connection.execute(
                "INSERT INTO generations VALUES (?, ?, ?)",
                [record.name, record.revision, record.created.isoformat()],
            )
            connection.executemany(
                "INSERT INTO generation_files VALUES (?, ?, ?)",
                [(record.name, file, sha256) for file, sha256 in record.sha256.items()],
            )


def _read_counts(connection: sqlite3.Connection) -> Counts:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages)"
    ).fetchone()
    return Counts(*row)


def _read_revision(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()
    return int(row[0])


def _count_revision(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
