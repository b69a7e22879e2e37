"""Documents, their passages and the passages' vectors, in one SQLite file: the source of truth."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from service.errors import VersionConflictError
from service.store import index_identity, unfinished
from service.store.database import Database
from service.store.document_rows import (
    check_document,
    check_passages,
    next_version,
    publish_document,
    put_document,
    stage_document,
)
from service.store.metadata_values import is_unicode
from service.store.records import (
    Counts,
    EncodedDocument,
    GenerationRecord,
    StagedDocument,
    Written,
)
from service.store.reserve import Reserve
from service.store.store_view import StoreView
from service.store.transfer import RestoredRow, insert_row
from service.types import Document, Filters, Ids, IndexIdentity, StoredPassage

Expectation = Callable[[int | None], bool]
"""Given a document's version, None where it is not there: may it be written?"""


class DocumentStore:
    """One SQLite file. Safe to use from several threads; what a method wrote is on the disk.

    Every method may raise `StoreError` (read-only, damaged), `StoreFullError` or
    `StoreLockedError`. A write that raises has changed nothing.
    """

    def __init__(
        self,
        path: Path,
        reindex: str | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        """Open the file.

        `reindex` is the command that encodes its documents again, for messages; the one for `main`
        in the file's folder if left out. `reserve` is space for deletes on a full disk.
        """
        self._reserve = reserve
        self._path = path
        self._reindex = reindex or f"secondpass reindex --data-dir {path.parent}"
        self._database = Database(path)

    def close(self) -> None:
        """Fold the write-ahead log into the file and let it go."""
        self._database.close()

    @contextmanager
    def view(self) -> Iterator[StoreView]:
        """The store as it is at this moment, to read from."""
        with self._database.reading() as connection:
            yield StoreView(connection)

    def put(
        self,
        rows: Sequence[EncodedDocument],
        note: tuple[str, str] | None = None,
        staged: Sequence[Document] = (),
    ) -> list[list[int]]:
        """Store all or none; each of `rows` replaces a document of the same id. Searches see them.

        `staged` are stored as by `stage`, and `note`, a name and a text, is kept as by `set_note`,
        in the same transaction: whatever moment the process dies at, all are there or none is.
        Passages always get new ids: those of each row are returned. Raises `InvalidInputError` for
        text or metadata that cannot be stored unchanged, `InferenceError` for a vector that is not
        finite, `ValueError` for spans and vectors that do not fit the text or the encoder.
        """
        if not rows and not staged:
            return []
        with self._database.writing() as connection:
            dimension = _dimension(StoreView(connection))
            passages = []
            for row in rows:
                check_document(row.document)
                check_passages(row, dimension)
                passages.append(put_document(connection, row))
            for document in staged:
                check_document(document)
                stage_document(connection, document)
            if note:
                _set_note(connection, *note)
        return passages

    def stage(
        self,
        documents: Sequence[Document],
        expected: Mapping[str, Expectation] | None = None,
    ) -> list[Written]:
        """Store all of `documents` or none, for `publish` to show them to searches later.

        `expected` may hold a condition for a document's id. Raises `VersionConflictError` where one
        is not met, `InvalidInputError` for text or metadata that cannot be stored unchanged.
        """
        with self._database.writing() as connection:
            view = StoreView(connection)
            for document in documents:
                check_document(document)
            _require(view, expected or {})
            return [stage_document(connection, document) for document in documents]

    def publish(self, rows: Sequence[tuple[StagedDocument, EncodedDocument]]) -> list[list[int]]:
        """Let searches see staged documents, each in place of the one before.

        Returns the ids of each one's passages; none for one that was written again or deleted
        meanwhile, which is passed over. Raises as `put`.
        """
        with self._database.writing() as connection:
            dimension = _dimension(StoreView(connection))
            passages = []
            for staged, encoded in rows:
                check_passages(encoded, dimension)
                passages.append(publish_document(connection, staged, encoded))
            next_version(connection)
        return passages

    def set_problem(self, staged: StagedDocument, problem: str) -> None:
        """Say why a staged document cannot be encoded; it waits no longer."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE documents SET problem = ? WHERE id = ? AND staged = 1 AND version = ?",
                [problem, staged.document.id, staged.version],
            )
            unfinished.forget(connection, staged)
            next_version(connection)

    def set_aside(self, documents: Sequence[StagedDocument]) -> None:
        """Let these be encoded in slices; see `service.store.unfinished`."""
        with self._database.writing() as connection:
            unfinished.set_aside(connection, documents)

    def keep_slice(self, staged: StagedDocument, first: int, encoded: EncodedDocument) -> None:
        """Keep the vectors of a document's passages from `first` on; no search sees them.

        Raises as `put`.
        """
        with self._database.writing() as connection:
            check_passages(encoded, _dimension(StoreView(connection)))
            unfinished.add(connection, staged, first, encoded.spans, encoded.vectors)

    def forget_slices(self, staged: StagedDocument) -> None:
        """Let go of what `keep_slice` kept of a document."""
        with self._database.writing() as connection:
            unfinished.forget(connection, staged)

    def restore(self, rows: Sequence[RestoredRow], revision: int) -> None:
        """Take over rows of another store with their versions, none of them above `revision`.

        For a store that nothing else was written to. Raises `InvalidInputError` for what cannot be
        stored.
        """
        with self._database.writing() as connection:
            dimension = _dimension(StoreView(connection))
            for row in rows:
                insert_row(connection, row, dimension)
            connection.execute(
                "UPDATE meta SET value = max(value, ?) WHERE name = 'revision'", [revision]
            )

    def delete_matching(self, filters: Filters, limit: int) -> int:
        """Remove at most `limit` documents that satisfy `filters` now; returns how many."""

        def remove() -> int:
            with self._database.writing() as connection:
                return _delete(connection, StoreView(connection).ids(filters, "", limit))

        return self._freeing(remove)

    def delete(
        self, ids: Collection[str], expected: Mapping[str, Expectation] | None = None
    ) -> int:
        """Remove documents and their passages; ids that are not there are passed over.

        Returns how many were there. Raises `VersionConflictError` as `stage`.
        """

        def remove() -> int:
            with self._database.writing() as connection:
                _require(StoreView(connection), expected or {})
                return _delete(connection, ids)

        return self._freeing(remove)

    def _freeing(self, remove: Callable[[], int]) -> int:
        return self._reserve.spend(remove, self._database.shrink) if self._reserve else remove()

    def check(self) -> None:
        """Raise `StoreError` where reads fail or writes would be lost."""
        self._database.check()

    def content_hashes(self, ids: Collection[str]) -> dict[str, str]:
        """As `StoreView.content_hashes`, at this moment."""
        with self.view() as view:
            return view.content_hashes(ids)

    def passages(self, ids: Collection[int]) -> dict[int, StoredPassage]:
        """As `StoreView.passages`, at this moment."""
        with self.view() as view:
            return view.passages(ids)

    def allowed(self, filters: Filters) -> Ids:
        """As `StoreView.allowed`, at this moment."""
        with self.view() as view:
            return view.allowed(filters)

    def counts(self) -> Counts:
        """As `StoreView.counts`, at this moment."""
        with self.view() as view:
            return view.counts

    def revision(self) -> int:
        """As `StoreView.revision`, at this moment."""
        with self.view() as view:
            return view.revision

    def identity(self) -> IndexIdentity | None:
        """The encoder that made the vectors; None before `set_identity`."""
        with self.view() as view:
            return view.identity

    def set_identity(self, wanted: IndexIdentity) -> None:
        """Store the encoder's identity the first time; afterwards insist on the same one.

        Raises `IndexMismatchError` that says what differs and what to run.
        """
        stored = self.identity()
        if stored is not None:
            index_identity.require_same(stored, wanted, self._path.parent, self._reindex)
            return
        with self._database.writing() as connection:
            index_identity.write(connection, wanted)

    def start_over(self, wanted: IndexIdentity) -> None:
        """Drop every passage and take another encoder's identity; the documents stay, staged."""
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM documents WHERE staged = 0 "
                "AND id IN (SELECT id FROM documents WHERE staged = 1)"
            )
            connection.execute("DELETE FROM passages")
            connection.execute("DELETE FROM unfinished")
            connection.execute("UPDATE documents SET staged = 1, problem = NULL")
            index_identity.write(connection, wanted)
            next_version(connection)

    def note(self, name: str) -> str | None:
        """What `set_note` kept under this name."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT value FROM meta WHERE name = ?", [f"note:{name}"]
            ).fetchone()
            return row[0] if row else None

    def set_note(self, name: str, text: str) -> None:
        """Keep a text in place of the one that has this name; no search sees any of it."""
        with self._database.writing() as connection:
            _set_note(connection, name, text)

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

    def set_generation(self, record: GenerationRecord, removed: int) -> None:
        """Make `record` the current one and forget the one before: the swap, in one transaction.

        `removed` is the last entry in the list of removed passages that it has taken in.
        """
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
            connection.execute("DELETE FROM removed WHERE sequence <= ?", [removed])


def _set_note(connection: sqlite3.Connection, name: str, text: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [f"note:{name}", text])


def _delete(connection: sqlite3.Connection, ids: Collection[str]) -> int:
    there = 0
    for id_ in filter(is_unicode, ids):
        gone = connection.execute("DELETE FROM documents WHERE id = ?", [id_])
        there += gone.rowcount > 0  # one that is staged has two rows
    if there:
        next_version(connection)
    return there


def _dimension(view: StoreView) -> int:
    identity = view.identity
    if identity is None:
        raise ValueError("set_identity() must come before the first put()")
    return identity.dimension


def _require(view: StoreView, expected: Mapping[str, Expectation]) -> None:
    for id_, may_write in expected.items():
        found = view.document(id_)
        version = found.version if found else None
        if not may_write(version):
            raise VersionConflictError(
                f"the document has version {version}" if found else "there is no such document"
            )
