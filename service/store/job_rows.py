"""What the rows of the jobs' file are, to tell whether it is damaged before a job is believed."""

import sqlite3
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from service.errors import StoreDamagedError

State = Literal["queued", "running", "done", "failed", "cancelled"]
"""The last three are final."""

JOB_COLUMNS = (
    'id, collection, collection_made, bytes, total, state, reason, "offset", line, done, refused, '
    "seconds, created, finished"
)

_STRICT = ConfigDict(strict=True)
_JOB: TypeAdapter[object] = TypeAdapter(
    tuple[str, str, str, int, int, State, str | None, int, int, int, int, float, str, str | None],
    config=_STRICT,
)
_REFUSAL: TypeAdapter[object] = TypeAdapter(
    tuple[int, int, str | None, str | None, str], config=_STRICT
)


def require_sound(connection: sqlite3.Connection) -> None:
    """Read all rows. Raises `StoreDamagedError` for what no job can be, or `sqlite3.Error`."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreDamagedError(f"the jobs are damaged: {found}")
    rows = {
        f"SELECT {JOB_COLUMNS} FROM jobs": _JOB,  # noqa: S608
        "SELECT job, line, id, field, reason FROM refusals": _REFUSAL,
    }
    for query, kind in rows.items():
        try:
            for row in connection.execute(query):
                kind.validate_python(row)
        except ValidationError as error:
            raise StoreDamagedError(f"the jobs are damaged: {error}") from error
