"""Rows kept on disk by the SHA-256 of what they were computed from."""

import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from service.errors import StoreError

_ASKED_TOGETHER = 500
"""Keys of a statement; SQLite takes at least 999."""


class KeptRows(AbstractContextManager["KeptRows"]):
    """A table of one file. Any threads may use it, and several processes the file.

    All methods raise `StoreError` if the file cannot be used.
    """

    def __init__(self, path: Path, table: str, columns: str) -> None:
        """Open or make the file. `columns` is SQL: names, types and constraints."""
        self._path, self._table = path, table
        self._places = ", ".join("?" * (1 + len(columns.split(","))))
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, {columns}) "
                "WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: cannot be used: {error}") from error

    def read(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Any, ...]]:
        """The columns of each key that is there."""
        found: dict[bytes, tuple[Any, ...]] = {}
        try:
            with self._lock:
                for start in range(0, len(keys), _ASKED_TOGETHER):
                    asked = keys[start : start + _ASKED_TOGETHER]
                    places = ", ".join("?" * len(asked))
                    statement = f"SELECT * FROM {self._table} WHERE key IN ({places})"  # noqa: S608
                    found |= {row[0]: row[1:] for row in self._database.execute(statement, asked)}
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot be read: {error}") from error
        return found

    def write(self, rows: Mapping[bytes, Iterable[Any]]) -> None:
        """Keep these; a kill of the process afterwards loses none."""
        statement = f"INSERT OR REPLACE INTO {self._table} VALUES ({self._places})"  # noqa: S608
        try:
            with self._lock, self._database:
                self._database.executemany(statement, [(k, *row) for k, row in rows.items()])
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __exit__(self, *_: object) -> None:
        self.close()
