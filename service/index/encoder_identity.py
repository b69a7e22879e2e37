"""Which encoder the stored vectors belong to, and the refusal of any other."""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

from service.errors import IndexMismatchError
from service.types import EncoderIdentity


def read(connection: sqlite3.Connection) -> EncoderIdentity | None:
    """The stored identity, or None in a store that has none yet."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'encoder_identity'").fetchone()
    return EncoderIdentity(**json.loads(row[0])) if row else None


def write(connection: sqlite3.Connection, identity: EncoderIdentity) -> None:
    """Store `identity` in place of any other."""
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES ('encoder_identity', ?)", [json.dumps(asdict(identity))]
    )


def require_same(
    stored: EncoderIdentity, wanted: EncoderIdentity, folder: Path, reindex: str
) -> None:
    """Raise `IndexMismatchError` that names every field in which the two differ.

    And the `folder` of the vectors, and the command that makes them anew.
    """
    there, here = asdict(stored), asdict(wanted)
    differences = [
        f"{name} is {there[name]!r} there, {here[name]!r} here"
        for name in there
        if there[name] != here[name]
    ]
    if differences:
        raise IndexMismatchError(
            f"the vectors in {folder} were made by another encoder: {'; '.join(differences)}. "
            "Start with the settings they were made with, or encode all documents again, with the "
            "settings of this start (--encoder and whatever else differs): "
            f"{reindex}"
        )
