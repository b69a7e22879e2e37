"""Token states of passages in a file of their own: derived data, which may go at any time.

They are found by the text that they were made of, so a file that is behind the store can be short
of states but has no wrong ones; and each has a checksum, so damage is no worse than their absence.
"""

import hashlib
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from service.errors import StoreError
from service.index.database import Database
from service.index.schema import prepare_tables
from service.types import Ids

_APPLICATION_ID = 0x32E9A57
_SCHEMA_VERSION = 1

_TABLES = (
    "CREATE TABLE made_by (maker TEXT NOT NULL)",
    """CREATE TABLE states (
        passage INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL
    )""",
    "CREATE INDEX states_of_digest ON states (digest)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)

_log = logging.getLogger(__name__)


class StateStore:
    """States by passage id and by text. Safe to use from several threads."""

    def __init__(self, path: Path, maker: str) -> None:
        """Open the file; what another `maker` left in it goes, and so does a damaged file.

        `maker` stands for all that decides a text's states. Raises `StoreError` where a file
        cannot be made.
        """
        self._path = path
        prepare = partial(_prepare, maker=maker)
        try:
            self._database = Database(path, prepare)
        except StoreError as error:
            _log.warning("the token states in %s are made again: %s", path, error)
            self._remove()
            self._database = Database(path, prepare)

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def get(self, texts: Sequence[str]) -> dict[str, bytes]:
        """States of those texts that have sound ones here; none where the file cannot be read."""
        by_digest = {_digest(text): text for text in texts}
        places = ",".join("?" * len(by_digest))
        try:
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT digest, checksum, data FROM states WHERE digest IN ({places})",  # noqa: S608
                    list(by_digest),
                ).fetchall()
        except StoreError as error:
            _log.warning("token states cannot be read: %s", error)
            return {}
        return {
            by_digest[digest]: data
            for digest, checksum, data in rows
            if zlib.crc32(data) == checksum
        }

    def put(self, rows: Iterable[tuple[int, str, bytes]]) -> None:
        """Keep (passage id, text, states). Raises `StoreError`."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)",
                [(passage, _digest(text), zlib.crc32(data), data) for passage, text, data in rows],
            )

    def passages(self) -> Ids:
        """Ids of the passages that have states here, ascending. Raises `StoreError`."""
        with self._database.reading() as connection:
            # Through the index: the table's own pages hold the states.
            rows = connection.execute(
                "SELECT passage FROM states INDEXED BY states_of_digest WHERE digest >= x''"
            ).fetchall()
        return np.sort(np.array([id_ for (id_,) in rows], np.int64))

    def remove(self, passages: Ids) -> None:
        """Forget these. Raises `StoreError`."""
        with self._database.writing() as connection:
            connection.executemany(
                "DELETE FROM states WHERE passage = ?", [(int(id_),) for id_ in passages]
            )

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm", "-journal"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)


def _prepare(connection: sqlite3.Connection, path: Path, maker: str) -> None:
    prepare_tables(connection, path, _APPLICATION_ID, _SCHEMA_VERSION, _TABLES)
    if connection.execute("SELECT maker FROM made_by").fetchall() != [(maker,)]:
        connection.execute("DELETE FROM states")
        connection.execute("DELETE FROM made_by")
        connection.execute("INSERT INTO made_by VALUES (?)", [maker])


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
