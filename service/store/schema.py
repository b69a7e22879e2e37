"""The tables of the store, and what makes an SQLite file one of ours."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from service.errors import StoreError
from service.store import lexical

# `documents.text` is last, so that reading the other columns never walks a long text's pages.
# A document has at most two rows: the one that searches see, and a newer one that is *staged* until
# its passages are encoded. `problem` says why they could not be. `version` is the store's revision
# when the row was written: one that was deleted and comes again never has an earlier one.
# Models read the title up to `title_end` and the headings that `outline` has up to `headings_end`;
# NULL where they read all of them. `outline` is NULL for a text without parts.
# AUTOINCREMENT: an id that a deleted passage had is never given again, so an older index can at
# worst name a passage that is gone, never another one, and all passages that it lacks have greater
# ids than any that it has. `removed` names those that have gone since it was built.
# `metadata.value` has no declared type: SQLite then compares without converting.
# `unfinished` has the long documents that are encoded in slices, `unfinished_passages` the vectors
# made so far. They are no passages yet: no search finds them, and no snapshot has them.
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
        headings_end INTEGER,
        metadata TEXT NOT NULL,
        outline TEXT,
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
)


class Schema(NamedTuple):
    """The tables of an SQLite file, and the two marks by which the file is recognised."""

    application_id: int
    version: int
    tables: Sequence[str]

    def prepare(self, connection: sqlite3.Connection, path: Path) -> None:
        """Make the tables in an empty file, or check that the file has them.

        Call it inside a write transaction. Raises `StoreError` for a file that another program or
        another version of this one made.
        """
        application, found = marks(connection)
        if (application, found) == (self.application_id, self.version):
            return
        if application == self.application_id:
            raise StoreError(
                f"{path} has schema version {found} and this program reads version "
                f"{self.version}: open it with the version of the program that wrote it, or move "
                f"{path.parent} away and make it again: secondpass ingest FILE --data-dir "
                f"{path.parent}"
            )
        if application or found or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreError(f"{path} is an SQLite database of another program")
        for statement in self.tables:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute(f"PRAGMA user_version = {self.version}")


def marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """The application id and the schema version of a file; zeros in an empty one."""
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    )
    return application, version


DOCUMENTS = Schema(0x32E9A55, 6, _TABLES)
