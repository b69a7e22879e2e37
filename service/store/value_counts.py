"""How many documents have which metadata values: counts for facets and lists of fields.

All of it is about the documents that searches see. Each query walks through one stretch of the
primary key (field, kind, value, document) of the metadata.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.documents.rows import composed
from service.errors import DeadlineError
from service.store.filter_sql import Condition, condition
from service.types import Facet, FacetsAsked, FacetValue, Filters, FilterScalar

_STEPS = 10_000
"""Instructions of SQLite between two looks at the clock: less than a millisecond."""


@contextmanager
def within(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Interrupt what runs too long."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise DeadlineError("the time allowed ran out") from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def count(connection: sqlite3.Connection, filters: Filters) -> int:
    """Documents under the filter."""
    if not filters:
        (found,) = connection.execute("SELECT value FROM meta WHERE name = 'documents'").fetchone()
        return int(found)
    where = condition(filters, "number")
    (found,) = connection.execute(
        f"SELECT count(*) FROM documents WHERE staged = 0 AND {where.sql}",  # noqa: S608
        where.parameters,
    ).fetchone()
    return int(found)


def facets(
    connection: sqlite3.Connection, asked: FacetsAsked, filters: Filters
) -> dict[str, Facet]:
    """The most frequent values of each field."""
    visible, total = _visible(filters), count(connection, filters)
    return {name: _facet(connection, name, asked.values, visible, total) for name in asked.fields}


def _facet(
    connection: sqlite3.Connection, name: str, most: int, visible: Condition, total: int
) -> Facet:
    start = f"FROM metadata WHERE field = ? AND kind <> 'date' AND {visible.sql}"
    parameters = [composed(name), *visible.parameters]
    rows = connection.execute(
        f"SELECT kind, value, count(*) AS documents {start} GROUP BY kind, value "
        "ORDER BY documents DESC, kind, value",
        parameters,
    )
    values = [
        FacetValue(_given(kind, value), number) for kind, value, number in rows.fetchmany(most)
    ]
    other = sum(number for _, _, number in rows)
    (having,) = connection.execute(
        f"SELECT count(DISTINCT document) {start}",
        parameters,
    ).fetchone()
    return Facet(values, other, total - having)


def fields(
    connection: sqlite3.Connection, filters: Filters, most: int
) -> dict[str, dict[str, int]]:
    """Fields by name, and the documents that have a value of each kind."""
    visible = _visible(filters)
    found: dict[str, dict[str, int]] = {}
    name = ""
    while len(found) < most:
        (name,) = connection.execute(
            "SELECT min(field) FROM metadata WHERE field > ?", [name]
        ).fetchone()
        if name is None:
            break
        kinds = connection.execute(
            "SELECT kind, count(DISTINCT document) FROM metadata "  # noqa: S608
            f"WHERE field = ? AND {visible.sql} GROUP BY kind",
            [name, *visible.parameters],
        )
        if counts := dict(kinds.fetchall()):
            found[name] = counts
    return found


def _visible(filters: Filters) -> Condition:
    """What the metadata of documents satisfies that searches see and that are under the filter."""
    where = condition(filters, "document")
    staged = "document NOT IN (SELECT number FROM documents WHERE staged = 1)"
    return Condition(f"{staged} AND {where.sql}", where.parameters)


def _given(kind: str, value: FilterScalar) -> FilterScalar:
    return bool(value) if kind == "boolean" else value
