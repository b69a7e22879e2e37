"""The tables of the store, and what makes an SQLite file one of ours."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from service.errors import StoreError
from service.store import lexical, unfinished

SCHEMA_VERSION = 5
APPLICATION_ID = 0x32E9A55
"""Marks the file as a store of this package (`PRAGMA application_id`)."""

# `documents.text` is last, so that reading the other columns never walks a long text's pages.
# A document has at most two rows: the one that searches see, and a newer one that is *staged* until
# its passages are encoded. `problem` says why they could not be. `version` is the store's revision
# when the row was written: one that was deleted and comes again never has an earlier one.
# Models read the title up to `title_end`; NULL where they read all of it.
# AUTOINCREMENT: an id that a deleted passage had is never given again, so an older index can at
# worst name a passage that is gone, never another one, and all passages that it lacks have greater
# ids than any that it has. `removed` names those that have gone since it was built.
# `metadata.value` has no declared type: SQLite then compares without converting.
_TABLES = (
    """CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        staged INTEGER NOT NULL,
        version INTEGER NOT NULL,
        problem TEXT,
        content_hash TEXT NOT NULL,
        title TEXT NOT NULL,
        title_end INTEGER,
        metadata TEXT NOT NULL,
        text TEXT NOT NULL,
        UNIQUE (id, staged)
    )""",
    "CREATE INDEX staged_documents ON documents (version) WHERE staged = 1",
    """CREATE TABLE passages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        vector BLOB NOT NULL,
        UNIQUE (document, ordinal)
    )""",
    """CREATE TABLE removed (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        passage INTEGER NOT NULL
    )""",
    *lexical.TABLES,
    """CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
        INSERT INTO removed (passage) VALUES (old.id);
        DELETE FROM passage_words WHERE rowid = old.id;
    END""",
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
    *unfinished.TABLES,
    # How many documents and passages searches see: they ask after each write.
    "INSERT INTO meta VALUES ('revision', 0), ('documents', 0), ('passages', 0)",
    # Files beside the store name it by this, so that no other store takes them for its own.
    "INSERT INTO meta VALUES ('id', lower(hex(randomblob(16))))",
    """CREATE TRIGGER count_document AFTER INSERT ON documents WHEN new.staged = 0
    BEGIN UPDATE meta SET value = value + 1 WHERE name = 'documents'; END""",
    """CREATE TRIGGER uncount_document AFTER DELETE ON documents WHEN old.staged = 0
    BEGIN UPDATE meta SET value = value - 1 WHERE name = 'documents'; END""",
    """CREATE TRIGGER recount_document AFTER UPDATE OF staged ON documents
    BEGIN UPDATE meta SET value = value + old.staged - new.staged WHERE name = 'documents'; END""",
    """CREATE TRIGGER count_passage AFTER INSERT ON passages
    BEGIN UPDATE meta SET value = value + 1 WHERE name = 'passages'; END""",
    """CREATE TRIGGER uncount_passage AFTER DELETE ON passages
    BEGIN UPDATE meta SET value = value - 1 WHERE name = 'passages'; END""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file, or check that `path` is a store that we can read.

    Call it inside a write transaction. Raises `StoreError` for a file that another program or
    another version of this one made.
    """
    prepare_tables(connection, path, APPLICATION_ID, SCHEMA_VERSION, _TABLES)


def prepare_tables(
    connection: sqlite3.Connection,
    path: Path,
    application_id: int,
    version: int,
    tables: Sequence[str],
) -> None:
    """As `prepare`, for a file with other tables; the last statements set its two marks."""
    application = _pragma(connection, "application_id")
    found = _pragma(connection, "user_version")
    if application == application_id and found == version:
        return
    if application == application_id:
        raise StoreError(
            f"{path} has schema version {found} and this program reads version "
            f"{version}: open it with the version of the program that wrote it, or move "
            f"{path.parent} away and make it again: secondpass ingest FILE --data-dir {path.parent}"
        )
    if application or found or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreError(f"{path} is an SQLite database of another program")
    for statement in tables:
        connection.execute(statement)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
