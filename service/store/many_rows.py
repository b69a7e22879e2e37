"""Statements over many rows at once."""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_MOST_VALUES = 30_000
"""In one statement; SQLite takes 32,766 unless it was built otherwise."""


def execute_rows(
    connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]
) -> list[tuple[Any, ...]]:
    """Execute `statement` with `rows` in place of its `{rows}`; returns what it selects.

    All rows have one length. Python's sqlite3 gives the interpreter's lock away at each step, and
    `executemany` takes a step for each row: beside threads that compute, a transaction of a hundred
    documents then lasts five times as long, and other writers wait for it.
    """
    found: list[tuple[Any, ...]] = []
    if not rows:
        return found
    one = f"({', '.join('?' * len(rows[0]))})"
    most = _MOST_VALUES // len(rows[0])
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        filled = statement.format(rows=", ".join([one] * len(some)))
        found += connection.execute(filled, list(chain.from_iterable(some))).fetchall()
    return found
