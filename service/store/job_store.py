"""Jobs: what is to be done, how far it is, and what came of it, in one small SQLite file.

Kept apart from the documents: a job outlives its collection and waits for no other writer.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from service.errors import (
    ConflictError,
    NotFoundError,
    OverloadedError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
)
from service.store.database import Database
from service.store.reserve import Reserve
from service.store.schema import Schema

JobKind = Literal["upload", "evaluation", "calibration"]

State = Literal["queued", "running", "done", "failed", "cancelled"]
"""The last three are final."""

KEPT_REFUSALS = 100
"""Of each job, the first ones."""

KEPT_JOBS = 1000
"""The newest finished jobs. Older ones are forgotten together with their `Idempotency-Key`."""

MOST_WAITING = 1000

# Jobs are ordered by `number`: the clock that `created` comes from may go backwards.
# `collection_made` tells a collection from a later one of the same name. `asked` is the name that
# the request gave, perhaps an alias.
_TABLES = (
    """CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        collection TEXT NOT NULL,
        collection_made TEXT NOT NULL,
        asked TEXT NOT NULL,
        key TEXT UNIQUE,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        total INTEGER NOT NULL,
        kind TEXT NOT NULL,
        options TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        "offset" INTEGER NOT NULL DEFAULT 0,
        line INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        refused INTEGER NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        created TEXT NOT NULL,
        finished TEXT,
        result TEXT
    )""",
    "CREATE INDEX unfinished_jobs ON jobs (number) WHERE state IN ('queued', 'running')",
    """CREATE TABLE refusals (
        job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
        line INTEGER NOT NULL,
        id TEXT,
        field TEXT,
        reason TEXT NOT NULL,
        PRIMARY KEY (job, line)
    ) WITHOUT ROWID""",
)
_SCHEMA = Schema(0x32E9A56, 2, _TABLES)

_UNFINISHED = "state IN ('queued', 'running')"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job whose upload, if it has one, is on the disk; `total` counts lines that are not blank.

    `options` is JSON, for jobs without an upload.
    """

    id: str
    collection: str
    collection_made: str
    asked: str
    key: str | None
    sha256: str
    bytes: int
    total: int
    kind: JobKind = "upload"
    options: str = "{}"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its last checkpoint has it.

    The upload is processed up to `offset` and `line`, which took `seconds` without pauses. Other
    jobs count queries in `done` and `total`.
    `created` and `finished` are UTC in ISO 8601, for people.
    """

    id: str
    collection: str
    collection_made: str
    bytes: int
    total: int
    kind: JobKind
    options: str
    state: State
    reason: str | None
    offset: int
    line: int
    done: int
    refused: int
    seconds: float
    created: str
    finished: str | None

    @property
    def is_finished(self) -> bool:
        """Nothing more will happen to it."""
        return self.state not in {"queued", "running"}

    @property
    def rate(self) -> float | None:
        """Lines processed in a second of work; None before the first checkpoint."""
        return (self.done + self.refused) / self.seconds if self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Of work on the job itself, at the rate so far; None if that is not known."""
        left = 0 if self.is_finished else self.total - self.done - self.refused
        return left / self.rate if self.rate else (None if left else 0.0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line (1-based) that was refused, its document's id if known, and the reason."""

    line: int
    id: str | None
    field: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class JobStep:
    """What one batch of lines adds to a job, and where it ends."""

    offset: int
    line: int
    done: int
    seconds: float
    refused: Sequence[Refusal]


class JobStore:
    """One SQLite file. Safe to use from several threads; what a method wrote is on the disk.

    Every method may raise `StoreError`, those with an id `NotFoundError`.
    """

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        """Open the file; `reserve` is space for `finish` on a full disk."""
        self._database = Database(path, _SCHEMA.prepare, reserve)

    def check(self) -> None:
        """Raise `StoreError` where reads fail or writes would be lost."""
        self._database.check()

    def require_sound(self) -> None:
        """Read everything. Raises `StoreDamagedError` for what cannot have been written."""
        try:
            with self._database.reading() as connection:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise StoreDamagedError(f"the jobs are damaged: {found}")
                for kind, table in ((Job, "jobs"), (Refusal, "refusals")):
                    columns = get_type_hints(kind).values()
                    row_type: TypeAdapter[Any] = TypeAdapter(
                        tuple[*columns],  # type: ignore[valid-type]
                        config=ConfigDict(strict=True),
                    )
                    query = f"SELECT {_columns(kind)} FROM {table}"  # noqa: S608
                    for row in connection.execute(query):
                        row_type.validate_python(row)
        except ValidationError as error:
            raise StoreDamagedError(f"the jobs are damaged: {error}") from error
        except (StoreLockedError, StoreDamagedError):
            raise
        except StoreError as error:  # text that is no text, say, has no code of its own
            raise StoreDamagedError(str(error)) from error

    def close(self) -> None:
        """Fold the write-ahead log into the file and let it go."""
        self._database.close()

    def add(self, new: NewJob) -> Job:
        """Queue a job, or return the earlier one with the same key, bytes and collection.

        Raises `ConflictError` if the key belongs to another upload, `OverloadedError` if too many
        jobs wait.
        """
        with self._database.writing() as connection:
            known = connection.execute(
                "SELECT id, sha256, asked FROM jobs WHERE key = ?", [new.key]
            ).fetchone()
            if known and known[1:] != (new.sha256, new.asked):
                raise ConflictError(f"the Idempotency-Key belongs to another upload: {known[0]}")
            if known:
                return _job(connection, known[0])
            if _count_waiting(connection) >= MOST_WAITING:
                raise OverloadedError(f"{MOST_WAITING} jobs wait; try again later", 60)
            values = [*astuple(new), "queued", _now()]
            connection.execute(
                f"INSERT INTO jobs ({_columns(NewJob)}, state, created) "  # noqa: S608
                f"VALUES ({', '.join('?' * len(values))})",
                values,
            )
            return _job(connection, new.id)

    def get(self, id_: str) -> Job:
        with self._database.reading() as connection:
            return _job(connection, id_)

    def newest(self, limit: int) -> list[Job]:
        with self._database.reading() as connection:
            return _jobs(connection, "ORDER BY number DESC LIMIT ?", limit)

    def unfinished(self) -> list[Job]:
        with self._database.reading() as connection:
            return _jobs(connection, f"WHERE {_UNFINISHED} ORDER BY number")

    def count_unfinished(self) -> int:
        with self._database.reading() as connection:
            return _count_waiting(connection)

    def refusals(self, id_: str) -> list[Refusal]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT r.line, r.id, r.field, r.reason FROM refusals r "
                "JOIN jobs j ON j.number = r.job WHERE j.id = ? ORDER BY r.line",
                [id_],
            )
            return [Refusal(*row) for row in rows]

    def begin(self, id_: str) -> Job:
        """Let a queued job run; changes no other job."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'running' WHERE id = ? AND state = 'queued'", [id_]
            )
            return _job(connection, id_)

    def checkpoint(self, id_: str, step: JobStep) -> Job:
        """Add what a batch did; keeps the state, which may be cancelled."""
        with self._database.writing() as connection:
            connection.execute(
                'UPDATE jobs SET "offset" = ?, line = ?, done = done + ?, refused = refused + ?, '
                "seconds = seconds + ? WHERE id = ?",
                [step.offset, step.line, step.done, len(step.refused), step.seconds, id_],
            )
            if step.refused:
                _keep_refusals(connection, id_, step.refused)
            return _job(connection, id_)

    def count(self, id_: str, done: int, total: int, seconds: float) -> Job:
        """Say how far a job without an upload is; keeps the state, which may be cancelled."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE jobs SET done = ?, total = ?, seconds = ? WHERE id = ?",
                [done, total, seconds, id_],
            )
            return _job(connection, id_)

    def result(self, id_: str) -> str | None:
        """What came of a job, as JSON; None before its end, and for an upload."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT result FROM jobs WHERE id = ?", [id_]).fetchone()
            return found[0] if found else None

    def finish(
        self, id_: str, state: State, reason: str | None = None, result: str | None = None
    ) -> Job:
        """End an unfinished job; the key of a failed one may be used again.

        Forgets the oldest finished jobs above `KEPT_JOBS`.
        """

        def end() -> Job:
            with self._database.writing() as connection:
                connection.execute(
                    "UPDATE jobs SET state = ?, reason = ?, finished = ?, "  # noqa: S608
                    "result = ?, "
                    f"key = iif(?, NULL, key) WHERE id = ? AND {_UNFINISHED}",
                    [state, reason, _now(), result, state == "failed", id_],
                )
                connection.execute(
                    "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE "  # noqa: S608
                    f"NOT ({_UNFINISHED}) AND id <> ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
                    [id_, KEPT_JOBS - 1],
                )
                return _job(connection, id_)

        return self._database.freeing(end)


def _columns(record: type) -> str:
    """The columns of a record: its fields."""
    return ", ".join(f'"{field.name}"' for field in fields(record))


def _jobs(connection: sqlite3.Connection, which: str, *parameters: object) -> list[Job]:
    query = f"SELECT {_columns(Job)} FROM jobs {which}"  # noqa: S608
    return [Job(*row) for row in connection.execute(query, parameters)]


def _job(connection: sqlite3.Connection, id_: str) -> Job:
    found = _jobs(connection, "WHERE id = ?", id_)
    if not found:
        raise NotFoundError(f"there is no job {id_!r}")
    return found[0]


def _count_waiting(connection: sqlite3.Connection) -> int:
    query = f"SELECT count(*) FROM jobs WHERE {_UNFINISHED}"  # noqa: S608
    return int(connection.execute(query).fetchone()[0])


def _keep_refusals(connection: sqlite3.Connection, id_: str, refused: Sequence[Refusal]) -> None:
    number, kept = connection.execute(
        "SELECT number, (SELECT count(*) FROM refusals WHERE job = number) FROM jobs WHERE id = ?",
        [id_],
    ).fetchone()
    connection.executemany(
        "INSERT OR IGNORE INTO refusals VALUES (?, ?, ?, ?, ?)",
        [(number, r.line, r.id, r.field, r.reason) for r in refused[: KEPT_REFUSALS - kept]],
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
