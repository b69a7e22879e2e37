"""Judgements of hits and clicks on hits, for the queries they were shown for.

They are in a small SQLite file of their own beside a collection's documents: they are written by
other people, outlive the documents, and are the only place where the server keeps a query's text.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from service.errors import ConflictError, NotFoundError
from service.store.database import Database
from service.store.reserve import Reserve
from service.store.schema import Schema

LabelKind = Literal["labels", "feedback"]
"""What people judged on purpose, and what came from an application's users."""

MOST_JUDGED = 100_000
"""Judged hits of one kind."""

MOST_BYTES = 256 << 20
"""Size of the file without the room that deleted labels leave in it."""

_TABLES = (
    """CREATE TABLE queries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        UNIQUE (kind, text)
    )""",
    # `grade` is NULL where there are clicks alone. `request` is the last one that clicked: sent
    # twice, it counts once.
    """CREATE TABLE judged (
        query INTEGER NOT NULL REFERENCES queries (number) ON DELETE CASCADE,
        document TEXT NOT NULL,
        grade INTEGER,
        clicks INTEGER NOT NULL,
        rank INTEGER,
        request TEXT,
        at TEXT NOT NULL,
        PRIMARY KEY (query, document)
    ) WITHOUT ROWID""",
)
_SCHEMA = Schema(0x32E9A57, 1, _TABLES)

_UPSERT = """INSERT INTO judged VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (query, document)
DO UPDATE SET
    grade = coalesce(excluded.grade, grade),
    clicks = clicks + iif(excluded.request = request, 0, excluded.clicks),
    rank = coalesce(excluded.rank, rank),
    request = iif(excluded.clicks, excluded.request, request),
    at = excluded.at"""


@dataclass(frozen=True, slots=True)
class Judged:
    """A document that was judged or clicked for a query.

    `grade` is 2 (relevant), 1 (partly), 0 (not), or None for clicks alone. `rank` is the place at
    which the hit was shown, if it is known.
    """

    document: str
    grade: int | None
    clicks: int = 0
    rank: int | None = None
    at: str = ""

    @property
    def effective(self) -> int:
        """The grade; without one, a click means 1."""
        return min(self.clicks, 1) if self.grade is None else self.grade


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and what is known of its hits; `number` names it."""

    number: int
    text: str
    judged: list[Judged]

    @property
    def id(self) -> str:
        """Its name on the wire and in exports."""
        return f"q{self.number}"


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How much there is of one kind; `relevant` and `not_relevant` are judged hits."""

    queries: int
    judged: int
    relevant: int
    not_relevant: int


class LabelStore:
    """One SQLite file. Safe to use from several threads; what a method wrote is on the disk.

    Every method may raise `StoreError`.
    """

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        """Open the file, or make it; `reserve` is space for deletes on a full disk."""
        self._database = Database(path, _SCHEMA.prepare, reserve)

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def add(
        self, kind: LabelKind, query: str, judged: Sequence[Judged], request: str | None = None
    ) -> None:
        """Add to what is known of a query's hits; a new grade replaces the old one.

        Clicks add up, except those of a `request` that clicked last. Raises `ConflictError` if the
        set is full.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._database.writing() as connection:
            number = _number(connection, kind, query)
            if number is None:
                insert = "INSERT INTO queries (kind, text) VALUES (?, ?)"
                number = connection.execute(insert, [kind, query]).lastrowid
            for one in judged:
                by = request if one.clicks else None
                row = (number, one.document, one.grade, one.clicks, one.rank, by, now)
                connection.execute(_UPSERT, row)
            _require_room(connection, kind)

    def remove(self, kind: LabelKind, query: str, documents: Sequence[str]) -> None:
        """Forget what is known of these documents for a query; a query without any goes too."""
        with self._database.writing() as connection:
            number = _number(connection, kind, query)
            connection.executemany(
                "DELETE FROM judged WHERE query = ? AND document = ?",
                [(number, document) for document in documents],
            )
            connection.execute(
                "DELETE FROM queries WHERE number = ? "
                "AND NOT EXISTS (SELECT 1 FROM judged WHERE query = number)",
                [number],
            )

    def delete(self, kind: LabelKind, number: int | None = None) -> int:
        """Delete all of a kind, or one query; returns how many judged hits that were.

        Raises `NotFoundError` if there is no such query.
        """

        def work() -> int:
            with self._database.writing() as connection:
                where = "kind = ?" if number is None else "kind = ? AND number = ?"
                given: list[str | int] = [kind] if number is None else [kind, number]
                (count,) = connection.execute(
                    "SELECT count(*) FROM judged JOIN queries ON number = query "  # noqa: S608
                    f"WHERE {where}",
                    given,
                ).fetchone()
                gone = connection.execute(f"DELETE FROM queries WHERE {where}", given)  # noqa: S608
                if number is not None and not gone.rowcount:
                    raise NotFoundError(f"there is no query q{number} among the {kind}")
                return int(count)

        return self._database.freeing(work)

    def queries(self, kind: LabelKind, after: int = 0, limit: int = -1) -> list[LabelledQuery]:
        """At most `limit` queries (-1 for all) with a number over `after`, in order."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT number, text FROM queries WHERE kind = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                [kind, after, limit],
            ).fetchall()
            return [LabelledQuery(n, text, _judged(connection, n)) for n, text in found]

    def counts(self, kind: LabelKind) -> LabelCounts:
        """How much there is."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT count(DISTINCT query), count(*), count(*) FILTER (WHERE "
                "coalesce(grade, min(clicks, 1)) > 0), count(*) FILTER (WHERE grade = 0) "
                "FROM judged JOIN queries ON number = query WHERE kind = ?",
                [kind],
            ).fetchone()
            return LabelCounts(*row)


def _number(connection: sqlite3.Connection, kind: LabelKind, query: str) -> int | None:
    found = connection.execute(
        "SELECT number FROM queries WHERE kind = ? AND text = ?", [kind, query]
    ).fetchone()
    return found[0] if found else None


def _judged(connection: sqlite3.Connection, number: int) -> list[Judged]:
    rows = connection.execute(
        "SELECT document, grade, clicks, rank, at FROM judged WHERE query = ? ORDER BY document",
        [number],
    )
    return [Judged(*row) for row in rows]


def _require_room(connection: sqlite3.Connection, kind: LabelKind) -> None:
    (count,) = connection.execute(
        "SELECT count(*) FROM judged JOIN queries ON number = query WHERE kind = ?", [kind]
    ).fetchone()
    if count > MOST_JUDGED:
        raise ConflictError(f"the {kind} have {MOST_JUDGED:,} judged hits, the most; delete some")
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    if (pages - free) * size > MOST_BYTES:
        raise ConflictError(
            f"labels and feedback take {MOST_BYTES >> 20} MiB together, the most; delete some"
        )
