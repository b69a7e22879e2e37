"""Connections and transactions of one SQLite file, and its errors in plain words.

One connection writes, behind a lock; each read borrows one of its own from a small pool. In WAL
mode a reader never waits for the writer, and sees the file as it was when the read began.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from service.durable import FileMark
from service.errors import StoreDamagedError, StoreError, StoreFullError, StoreLockedError
from service.store.reserve import Reserve
from service.store.schema import DOCUMENTS

T = TypeVar("T")

_BUSY_TIMEOUT_S = 5.0

_LOG_BYTES = 64 << 20
_LOG_WAIT_S = 0.25
"""How long a write waits, once per this many bytes, for the reads that keep the log; longer as the
log grows."""

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its permissions and its file system",
    sqlite3.SQLITE_PERM: "the permission is missing",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that it is a file and its permissions",
    sqlite3.SQLITE_IOERR: "the disk or file system reports an error",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup or ingest into a new folder",
    sqlite3.SQLITE_NOTADB: (
        "it is not a database, or it is damaged; "
        "restore it from a backup or ingest into a new folder"
    ),
}
_KINDS = {
    sqlite3.SQLITE_FULL: StoreFullError,
    sqlite3.SQLITE_CORRUPT: StoreDamagedError,
    sqlite3.SQLITE_NOTADB: StoreDamagedError,
}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_UNREADABLE = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

_REMEMBERED_S = 30.0
"""How long `check` reports a disk error, which may pass. Damage is always reported."""


def files_of(path: Path) -> list[Path]:
    """All files that SQLite may make for the database at `path`."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]


class Database:
    """One SQLite file in WAL mode; safe to use from several threads.

    A write is on the disk when `writing` ends without an error (`synchronous=FULL`). Every
    `sqlite3.Error` leaves here as a `StoreError`, a lock held elsewhere as a `StoreLockedError`.
    If the file or its log was removed or replaced, reads go on in the old one, and every write
    raises `StoreLostError`.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection, Path], None] = DOCUMENTS.prepare,
        reserve: Reserve | None = None,
    ) -> None:
        """Open the file; `prepare` makes its tables or checks them, `reserve` is for `freeing`."""
        self._path, self._reserve = path, reserve
        self._write_lock = threading.Lock()
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._log = path.with_name(f"{path.name}-wal")
        self._log_limit = _LOG_BYTES
        self._closed = False
        self._marks: list[FileMark] = []
        self._damage: str | None = None
        self._unreadable: tuple[float, str] | None = None
        with self._explained():
            self._writer = self._connect()
        try:
            with self.writing() as connection:
                prepare(connection, path)
            self._marks = self._mark()
        except BaseException:
            self._writer.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: one unchanging view of the file."""
        with self._explained():
            connection = self._borrow()
            try:
                connection.execute("BEGIN")
                # Only the first read fixes what the transaction sees.
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a write transaction: committed at the end, undone by an error."""
        with self._write_lock, self._explained():
            if self._closed:
                raise StoreError(f"{self._path} is closed")
            self._require_files()
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
                self._require_files()
            except BaseException:
                # After some errors SQLite has already rolled back by itself.
                with suppress(sqlite3.Error):
                    connection.rollback()
                raise
            self._shorten_log()

    def check(self) -> None:
        """Raise `StoreError` where reads fail or writes would be lost."""
        self._require_files()
        if self._damage:
            raise StoreDamagedError(self._damage)
        if self._unreadable and time.monotonic() - self._unreadable[0] < _REMEMBERED_S:
            raise StoreError(self._unreadable[1])

    def freeing(self, work: Callable[[], T]) -> T:
        """What `work` returns; on a full disk it may use the reserve."""
        return self._reserve.spend(work, self.shrink) if self._reserve else work()

    def shrink(self) -> None:
        """Fold the write-ahead log into the file now, unless something reads it."""
        with self._write_lock, suppress(sqlite3.Error):
            if not self._closed:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection; one that reads at this moment closes when its read ends."""
        with self._write_lock, self._pool_lock, self._explained():
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            # Last: the last connection to close folds the write-ahead log into the file.
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        # One thread uses a connection at a time, but not always the same one.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rwc",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(f"cannot use {self._path}: its file system has no support for WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except UnicodeDecodeError as error:  # the schema's names, or SQLite's words about them
            connection.close()
            raise StoreDamagedError(f"cannot use {self._path}: it is damaged") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _mark(self) -> list[FileMark]:
        try:
            return [FileMark.of(path) for path in (self._path, self._log)]
        except OSError as error:
            raise StoreError(f"cannot look at {self._path}: {error.strerror}") from error

    def _require_files(self) -> None:
        for mark in self._marks:
            mark.require_same()

    def _shorten_log(self) -> None:
        """Empty a long write-ahead log.

        SQLite starts it again by itself only when there is no reader at that moment: under searches
        without a pause it would grow for ever.
        """
        with suppress(OSError, sqlite3.Error):  # what was written is safe in the log
            size = self._log.stat().st_size
            if size < self._log_limit:
                return
            self._be_patient(min(_BUSY_TIMEOUT_S, _LOG_WAIT_S * self._log_limit / _LOG_BYTES))
            # Not every write waits for one long read, of a build, say.
            self._log_limit = size + _LOG_BYTES
            try:
                (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._be_patient(_BUSY_TIMEOUT_S)
            if not busy:
                self._log_limit = _LOG_BYTES

    def _be_patient(self, seconds: float) -> None:
        self._writer.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")

    def _borrow(self) -> sqlite3.Connection:
        with self._pool_lock:
            if self._closed:
                raise StoreError(f"{self._path} is closed")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            connection.rollback()
        with self._pool_lock:
            if self._closed or connection.in_transaction:
                connection.close()
            else:
                self._idle.append(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # An extended code carries the primary one in its low byte.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _LOCKED:
                raise StoreLockedError(f"another process holds {self._path}") from error
            reason = f"cannot use {self._path}: {_REASONS.get(code, str(error))}"
            kind = _KINDS.get(code, StoreError)
            if kind is StoreDamagedError:
                self._damage = reason
            elif code in _UNREADABLE:
                self._unreadable = time.monotonic(), reason
            raise kind(reason) from error
