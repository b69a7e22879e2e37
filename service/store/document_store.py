"""Documents, their passages and the passages' vectors, in one SQLite file: the source of truth."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from service.documents.rows import is_unicode
from service.errors import (
    ForbiddenError,
    IndexMismatchError,
    NotFoundError,
    VersionConflictError,
)
from service.store.database import Database
from service.store.document_rows import (
    SET_ASIDE,
    DocumentRow,
    PassageRows,
    check_passages,
    next_version,
    passage_rows,
    publish_documents,
    put_documents,
    restore_row,
    stage_documents,
)
from service.store.metadata_values import merged
from service.store.passage_cache import PassageCache
from service.store.reserve import Reserve
from service.store.sqlite_view import SqliteView
from service.types import (
    Document,
    EncodedDocument,
    Expectation,
    Expectations,
    Filters,
    GenerationRecord,
    IndexIdentity,
    Metadata,
    StagedDocument,
    StoredRow,
    Written,
)


class DocumentStore:
    """A `Store`: one SQLite file."""

    def __init__(
        self, path: Path, reindex: str | None = None, reserve: Reserve | None = None
    ) -> None:
        """Open the file.

        `reindex` is the command that encodes its documents again, for messages; by default the one
        for `main` in the file's folder. `reserve` is space for deletes on a full disk.
        """
        self._path = path
        self._reindex = reindex or f"secondpass reindex --data-dir {path.parent}"
        self._database = Database(path, reserve=reserve)
        self._passages = PassageCache()

    @contextmanager
    def view(self) -> Iterator[SqliteView]:
        with self._database.reading() as connection:
            yield SqliteView(connection, self._passages)

    def check(self) -> None:
        self._database.check()

    def close(self) -> None:
        self._database.close()

    def put(
        self,
        rows: Sequence[EncodedDocument],
        note: tuple[str, str] | None = None,
        staged: Sequence[Document] = (),
    ) -> list[list[int]]:
        if not rows and not staged:
            return []
        prepared = [(DocumentRow.of(row.document), PassageRows.of(row)) for row in rows]
        to_stage = [DocumentRow.of(document) for document in staged]
        with self._database.writing() as connection:
            _check(connection, rows)
            passages = put_documents(connection, prepared)
            stage_documents(connection, to_stage)
            if note:
                _set_note(connection, *note)
        return passages

    def stage(
        self,
        documents: Sequence[Document],
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> list[Written]:
        return self.staging(documents, expected, within)()

    def staging(
        self,
        documents: Sequence[Document],
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> Callable[[], list[Written]]:
        rows = [DocumentRow.of(document) for document in documents]
        ids = [document.id for document in documents]

        def write() -> list[Written]:
            with self._database.writing() as connection:
                _require_within(connection, ids, within)
                _require(connection, expected or {}, ids)
                written = stage_documents(connection, rows)
                _require_within(connection, ids, within)
                return written

        return write

    def patch(
        self,
        id_: str,
        changes: Metadata,
        expected: Expectation | None = None,
        within: Filters | None = None,
    ) -> Written:
        with self._database.writing() as connection:
            view = SqliteView(connection)
            visible = view.satisfying([id_], within) if within else {id_}
            _require(connection, {id_: expected} if expected else {}, visible)
            stored = view.document(id_) if id_ in visible else None
            if stored is None:
                raise NotFoundError("there is no document with this id")
            metadata = merged(stored.document.metadata, changes)
            row = DocumentRow.of(replace(stored.document, metadata=metadata))
            (written,) = stage_documents(connection, [row])
            _require_within(connection, [id_], within)
            return written

    def publish(self, rows: Sequence[tuple[StagedDocument, EncodedDocument]]) -> list[list[int]]:
        prepared = [(staged, PassageRows.of(encoded)) for staged, encoded in rows]
        with self._database.writing() as connection:
            _check(connection, [encoded for _, encoded in rows])
            passages = publish_documents(connection, prepared)
            next_version(connection)
        return passages

    def set_problem(self, staged: StagedDocument, problem: str) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE documents SET problem = ? WHERE id = ? AND staged = 1 AND version = ?",
                [problem, staged.document.id, staged.version],
            )
            connection.execute(
                f"DELETE FROM unfinished WHERE document = {SET_ASIDE}",  # noqa: S608
                [staged.document.id, staged.version],
            )
            next_version(connection)

    def set_aside(self, documents: Sequence[StagedDocument]) -> None:
        with self._database.writing() as connection:
            connection.executemany(
                # A row that is replaced takes its passages along.
                "INSERT OR REPLACE INTO unfinished SELECT number, ? FROM documents "
                "WHERE id = ? AND staged = 1 AND version = ?",
                [(len(one.document.text), one.document.id, one.version) for one in documents],
            )

    def keep_slice(self, staged: StagedDocument, first: int, encoded: EncodedDocument) -> None:
        with self._database.writing() as connection:
            check_passages(encoded, _dimension(connection))
            (number,) = connection.execute(
                f"SELECT {SET_ASIDE}", [staged.document.id, staged.version]
            ).fetchone()
            if number is not None:  # else it was written again or deleted
                connection.executemany(
                    "INSERT OR REPLACE INTO unfinished_passages VALUES (?, ?, ?, ?, ?)",
                    passage_rows(number, encoded, first),
                )

    def delete(
        self,
        ids: Collection[str],
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> int:
        def remove() -> int:
            with self._database.writing() as connection:
                there = SqliteView(connection).satisfying(ids, within) if within else ids
                _require(connection, expected or {}, there)
                return _delete(connection, there)

        return self._database.freeing(remove)

    def delete_matching(self, filters: Filters, limit: int) -> int:
        def remove() -> int:
            with self._database.writing() as connection:
                return _delete(connection, SqliteView(connection).ids(filters, "", limit))

        return self._database.freeing(remove)

    def restore(self, rows: Sequence[StoredRow], revision: int) -> None:
        with self._database.writing() as connection:
            dimension = _dimension(connection)
            for row in rows:
                restore_row(connection, row, dimension)
            connection.execute(
                "UPDATE meta SET value = max(value, ?) WHERE name = 'revision'", [revision]
            )

    def set_identity(self, wanted: IndexIdentity) -> None:
        """Raises `IndexMismatchError` that says what differs and what to run."""
        with self.view() as view:
            stored = view.identity
        if stored is None:
            with self._database.writing() as connection:
                _set_identity(connection, wanted)
        elif differences := stored.differences(wanted):
            raise IndexMismatchError(
                f"the index in {self._path.parent} was made by another encoder or version, or with "
                f"other settings: {'; '.join(differences.values())}. "
                "Start with the settings it was made with, or encode all documents again with the "
                f"settings of this start (--encoder and whatever else differs): {self._reindex}"
            )

    def start_over(self, wanted: IndexIdentity) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM documents WHERE staged = 0 "
                "AND id IN (SELECT id FROM documents WHERE staged = 1)"
            )
            connection.execute("DELETE FROM passages")
            connection.execute("DELETE FROM unfinished")
            connection.execute("UPDATE documents SET staged = 1, problem = NULL")
            _set_identity(connection, wanted)
            next_version(connection)

    def set_note(self, name: str, text: str) -> None:
        with self._database.writing() as connection:
            _set_note(connection, name, text)

    def set_generation(self, record: GenerationRecord, removed: int) -> None:
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


def _set_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, value])


def _set_note(connection: sqlite3.Connection, name: str, text: str) -> None:
    _set_meta(connection, f"note:{name}", text)


def _set_identity(connection: sqlite3.Connection, identity: IndexIdentity) -> None:
    _set_meta(connection, "index_identity", json.dumps(asdict(identity)))


def _delete(connection: sqlite3.Connection, ids: Collection[str]) -> int:
    there = 0
    for id_ in filter(is_unicode, ids):
        gone = connection.execute("DELETE FROM documents WHERE id = ?", [id_])
        there += gone.rowcount > 0  # one that is staged has two rows
    if there:
        next_version(connection)
    return there


def _check(connection: sqlite3.Connection, rows: Sequence[EncodedDocument]) -> None:
    dimension = _dimension(connection)
    for row in rows:
        check_passages(row, dimension)


def _dimension(connection: sqlite3.Connection) -> int:
    identity = SqliteView(connection).identity
    if identity is None:
        raise ValueError("set_identity() must come before the first put()")
    return identity.dimension


def _require(
    connection: sqlite3.Connection, expected: Expectations, visible: Collection[str]
) -> None:
    for id_, may_write in expected.items():
        found = SqliteView(connection).document(id_) if id_ in visible else None
        version = found.version if found else None
        if not may_write(version):
            raise VersionConflictError(
                f"the document has version {version}" if found else "there is no such document"
            )


def _require_within(
    connection: sqlite3.Connection, ids: Collection[str], within: Filters | None
) -> None:
    """Raise `ForbiddenError` if a document is there and does not satisfy `within`."""
    if not within:
        return
    view = SqliteView(connection)
    inside = view.satisfying(ids, within)
    for id_ in ids:
        if id_ not in inside and view.document(id_) is not None:
            raise ForbiddenError(f"the API key's filter excludes the document {id_!r}")
