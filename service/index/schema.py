"""The tables of the store, and what makes an SQLite file one of ours."""

import sqlite3
from pathlib import Path

from service.errors import StoreError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x32E9A55
"""Marks the file as a store of this package (`PRAGMA application_id`)."""

# `documents.text` stands last, so that reading the other columns never walks a long text's pages.
# A NULL `content_hash` says that the document has no passages of the present encoder yet.
# AUTOINCREMENT: an id that a deleted passage had is never given again, so an older index can at
# worst name a passage that is gone, never another one.
# `metadata.value` has no declared type: SQLite then compares without converting.
_TABLES = (
    """CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        content_hash TEXT,
        title TEXT NOT NULL,
        metadata TEXT NOT NULL,
        text TEXT NOT NULL
    )""",
    "CREATE INDEX documents_to_encode ON documents (number) WHERE content_hash IS NULL",
    """CREATE TABLE passages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        vector BLOB NOT NULL,
        UNIQUE (document, ordinal)
    )""",
    """CREATE TABLE metadata (
        field TEXT NOT NULL,
        kind TEXT NOT NULL,
        value NOT NULL,
        document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
        PRIMARY KEY (field, kind, value, document)
    ) WITHOUT ROWID""",
    "CREATE INDEX metadata_of_document ON metadata (document)",
    """CREATE TABLE generations (
        name TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        created TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE generation_files (
        generation TEXT NOT NULL REFERENCES generations (name) ON DELETE CASCADE,
        file TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (generation, file)
    ) WITHOUT ROWID""",
    "INSERT INTO meta VALUES ('revision', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file, or check that `path` is a store that we can read.

    Call it inside a write transaction. Raises `StoreError` for a file that another program or
    another version of this one made.
    """
    application = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application == APPLICATION_ID and version == SCHEMA_VERSION:
        return
    if application == APPLICATION_ID:
        raise StoreError(
            f"{path} has schema version {version} and this program reads version "
            f"{SCHEMA_VERSION}; open it with the version of the program that wrote it, "
            "or ingest into a new folder"
        )
    if application or version or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(f"{path} is an SQLite database of another program")
    for statement in _TABLES:
        connection.execute(statement)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
