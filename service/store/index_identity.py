"""What the stored passages and vectors were made with, and the refusal of anything else."""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

from service.errors import IndexMismatchError
from service.types import IndexIdentity


def read(connection: sqlite3.Connection) -> IndexIdentity | None:
    """The stored identity, or None in a store that has none yet."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'index_identity'").fetchone()
    return IndexIdentity(**json.loads(row[0])) if row else None


def write(connection: sqlite3.Connection, identity: IndexIdentity) -> None:
    """Store `identity` in place of any other."""
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES ('index_identity', ?)", [json.dumps(asdict(identity))]
    )


def require_same(stored: IndexIdentity, wanted: IndexIdentity, folder: Path, reindex: str) -> None:
    """Raise `IndexMismatchError` that names every field in which the two differ.

    The message also names the `folder` of the index and the command that makes it again.
    """
    there, here = asdict(stored), asdict(wanted)
    differences = [
        f"{name} is {there[name]!r} there, {here[name]!r} here"
        for name in there
        if there[name] != here[name]
    ]
    if differences:
        raise IndexMismatchError(
            f"the index in {folder} was made by another encoder or version, or with other "
            f"settings: {'; '.join(differences)}. "
            "Start with the settings it was made with, or encode all documents again with the "
            "settings of this start (--encoder and whatever else differs): "
            f"{reindex}"
        )
