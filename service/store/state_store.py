"""Token states of passages in a file of their own: derived data, which may go at any time.

They are found by passage id. The file belongs to one store, and each passage's states carry a
checksum of the passage as well: states of another passage and damaged ones are as good as missing.
"""

import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from service.durable import explained
from service.errors import (
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreLostError,
)
from service.store.database import Database, files_of
from service.store.document_rows import json_of
from service.store.schema import Schema, marks
from service.types import Ids, StoredPassage

_TABLES = (
    "CREATE TABLE made_by (maker TEXT NOT NULL)",
    """CREATE TABLE states (
        passage INTEGER PRIMARY KEY,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL
    )""",
    # To list the passages: the table's own pages hold the states.
    "CREATE INDEX passages_with_states ON states (passage)",
)
# The version counts changes to what rerankers pack, too: older states must go.
_SCHEMA = Schema(0x32E9A57, 3, _TABLES)

_log = logging.getLogger(__name__)


class StateStore:
    """States by passage id. Safe to use from several threads.

    A damaged or missing file is made again, empty, and damaged states are removed. `losses` counts
    both, and `on_loss` wakes the thread that keeps the file complete.
    """

    def __init__(self, path: Path, maker: str) -> None:
        """Open the file; removes what another `maker` left in it, and a damaged file.

        `maker` names the store and all that decides a text's states. Raises `StoreError` if there
        can be no such file.
        """
        self._path, self._prepare = path, partial(_prepare, maker=maker)
        self.losses = 0
        self.on_loss: Callable[[], None] = lambda: None
        self._making = threading.Lock()
        try:
            self._database = Database(path, self._prepare)
        except StoreError as error:
            # SQLite has no one code for a file that it cannot read at all.
            lasting = isinstance(error, StoreLockedError | StoreFullError)
            if lasting or not path.is_file():
                raise
            self._make_again(error)

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def get(self, passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        """Those that are sound, by passage id; none where the file cannot be read."""
        wanted = {passage.id: passage for passage in passages}
        try:
            with self._connection() as connection:
                rows = connection.execute(
                    "SELECT passage, checksum, data FROM states "
                    "WHERE passage IN (SELECT value FROM json_each(?))",
                    [json_of(wanted)],
                ).fetchall()
        except StoreError as error:
            _log.warning("token states cannot be read: %s", error)
            return {}
        found = {id_: data for id_, sum_, data in rows if _checksum(wanted[id_], data) == sum_}
        if damaged := [id_ for id_, *_ in rows if id_ not in found]:
            self._lose(damaged)
        return found

    def put(self, rows: Iterable[tuple[StoredPassage, bytes]]) -> None:
        """Keep the states of these passages. Raises `StoreError`."""
        with self._connection(write=True) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?)",
                [(passage.id, _checksum(passage, data), data) for passage, data in rows],
            )

    def passages(self, after: int = 0) -> Ids:
        """Ids over `after` of the passages that have states here, ascending.

        Raises `StoreError`.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT passage FROM states INDEXED BY passages_with_states WHERE passage > ? "
                "ORDER BY passage",
                [after],
            ).fetchall()
        return np.array([id_ for (id_,) in rows], np.int64)

    def remove(self, passages: Ids) -> None:
        """Forget these. Raises `StoreError`."""
        with self._connection(write=True) as connection:
            connection.executemany(
                "DELETE FROM states WHERE passage = ?", [(int(id_),) for id_ in passages]
            )

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        database = self._database
        try:
            with database.writing() if write else database.reading() as connection:
                yield connection
        except (StoreDamagedError, StoreLostError) as error:
            with self._making:
                if self._database is database:  # else another thread has just done it
                    database.close()
                    self._make_again(error)
            raise

    def _lose(self, passages: Sequence[int]) -> None:
        _log.warning("token states of %d passages are damaged, or of others, and go", len(passages))
        with suppress(StoreError):  # they are not given, and that is what counts
            self.remove(np.array(passages, np.int64))
        self._count_loss()

    def _make_again(self, error: StoreError) -> None:
        _log.warning("the token states in %s are made again: %s", self._path, error)
        with explained(f"cannot remove {self._path}"):
            for file in files_of(self._path):
                file.unlink(missing_ok=True)
        self._database = Database(self._path, self._prepare)
        self._count_loss()

    def _count_loss(self) -> None:
        self.losses += 1
        self.on_loss()


def _prepare(connection: sqlite3.Connection, path: Path, maker: str) -> None:
    if marks(connection) not in {(0, 0), _SCHEMA[:2]}:
        raise StoreDamagedError(f"{path} is another version's, or damaged")
    _SCHEMA.prepare(connection, path)
    if connection.execute("SELECT maker FROM made_by").fetchall() != [(maker,)]:
        connection.execute("DELETE FROM states")
        connection.execute("DELETE FROM made_by")
        connection.execute("INSERT INTO made_by VALUES (?)", [maker])


def _checksum(passage: StoredPassage, data: object) -> int:
    """Of both, so that a passage can have no other one's states."""
    if not isinstance(data, bytes):
        return -1
    read = f"{passage.before}\0{passage.text}".encode("utf-8", "surrogatepass")
    return zlib.crc32(data, zlib.crc32(read))
