"""What only the SQLite store has: its messages, its file, its transactions."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import (
    IndexMismatchError,
    StoreError,
    StoreFullError,
)
from service.store.document_store import DocumentStore
from service.types import Document, EncodedDocument, EncoderIdentity, Ids, Vectors
from tests.fixtures.stores import encoded_of, everything, now, staged

Encoded = Callable[..., EncodedDocument]


def all_vectors(store: DocumentStore, batch: int = 100) -> tuple[Ids, Vectors]:
    with store.view() as view:
        parts = list(view.vectors(batch))
    ids, vectors = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(vectors)


def test_another_encoder_is_refused_with_what_differs_and_what_to_run(
    store: DocumentStore, identity: EncoderIdentity, tmp_path: Path
) -> None:
    store.set_identity(identity)
    others: dict[str, Any] = {
        "model": "other",
        "weights_sha256": "cd" * 32,
        "dimension": 16,
        "query_prefix": "",
        "passage_prefix": "",
        "max_length": 512,
        "normalizer_version": 2,
    }
    for field, value in others.items():
        with pytest.raises(IndexMismatchError) as caught:
            store.set_identity(replace(identity, **{field: value}))
        message = str(caught.value)
        assert f"{field} is {getattr(identity, field)!r} there, {value!r} here" in message
        assert f"secondpass reindex --data-dir {tmp_path}" in message
        assert not any(f"{other} is" in message for other in others if other != field)
    assert now(store).identity == identity


def test_a_vector_that_lost_bytes_is_noticed(
    store: DocumentStore, encoded: Encoded, tmp_path: Path
) -> None:
    store.put([encoded("a")])
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("UPDATE passages SET vector = substr(vector, 5) WHERE id = 2")
    connection.close()
    with pytest.raises(StoreError, match="passages 1 to 2 does not have 8 dimensions"):
        all_vectors(store)


@pytest.mark.parametrize("shortest", [True, False])
def test_to_find_the_next_long_document_no_other_is_read(
    store: DocumentStore, *, shortest: bool
) -> None:
    def steps() -> int:
        """Of SQLite's machine, in tens."""
        taken: list[None] = []
        with store.view() as view:
            view.connection.set_progress_handler(lambda: taken.append(None), 10)
            view.next_long(shortest=shortest)
            view.connection.set_progress_handler(None, 0)
        return len(taken)

    store.stage([Document("long", "x" * 100), Document("longer", "x" * 1000)])
    store.set_aside(staged(store))
    few = steps()
    store.stage([Document(f"short {n}", "x") for n in range(500)])
    assert steps() <= few + 10


@pytest.mark.parametrize("step", ["stage", "publish", "delete", "set_problem", "start_over"])
def test_each_step_is_one_transaction(
    store: DocumentStore, identity: EncoderIdentity, encoded: Encoded, step: str
) -> None:
    """The step's last statement fails, whatever it did before is undone."""
    store.put([encoded("d", "old text", metadata={"n": 1})])
    store.stage([Document("d", "one two"), Document("e", "one two", metadata={"n": 2})])
    rows = [(row, encoded_of(row, encoded)) for row in staged(store)]
    steps: dict[str, Callable[[], object]] = {
        "stage": lambda: store.stage([Document(id_, "newest") for id_ in ("d", "e", "f")]),
        "publish": lambda: store.publish(rows),
        "delete": lambda: store.delete(["d", "e"]),
        "set_problem": lambda: store.set_problem(rows[0][0], "bad"),
        "start_over": lambda: store.start_over(replace(identity, model="another")),
    }
    before = everything(store)
    with store._database.writing() as connection:
        connection.execute(
            "CREATE TRIGGER broken BEFORE UPDATE ON meta WHEN new.name = 'revision' AND "
            f"new.value > {before[0]} + {2 if step == 'stage' else 0} "
            "BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    with pytest.raises(StoreError, match="broken"):
        steps[step]()
    with store._database.writing() as connection:
        connection.execute("DROP TRIGGER broken")
    assert everything(store) == before
    assert now(store).identity == identity
    steps[step]()
    assert everything(store) != before


def test_a_full_disk_is_told_and_what_was_written_before_is_there(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded("d", "old text")])
    with store._database.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    before = everything(store)
    large = Document("large", json.dumps(list(range(20_000))))
    with pytest.raises(StoreFullError, match="disk is full"):
        store.stage([Document("small", "x"), large])
    assert everything(store) == before
    with store._database.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    store.stage([large])
    assert [row.document for row in staged(store)] == [large]


class Counting:
    """A connection that counts the statements that are executed, once for each row."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.statements = connection, 0

    def execute(self, *given: Any) -> sqlite3.Cursor:
        self.statements += 1
        return self.connection.execute(*given)

    def executemany(self, statement: str, rows: Iterable[Any]) -> None:
        for row in rows:
            self.execute(statement, row)

    def rollback(self) -> None:
        self.connection.rollback()


@pytest.mark.parametrize("write", ["stage", "write again", "publish", "put"])
def test_many_documents_take_as_many_statements_as_few(
    store: DocumentStore, encoded: Encoded, write: str
) -> None:
    # Beside busy threads each statement waits for the interpreter's lock, and all writers with it.
    def statements(count: int) -> int:
        rows = [encoded(f"{write}-{count}-{n}", metadata={"n": n}) for n in range(count)]
        documents = [row.document for row in rows]
        if write in {"write again", "publish"}:
            store.stage(documents)
        writer: Any = Counting(store._database._writer)
        store._database._writer = writer
        if write == "stage":
            store.stage(documents)
        elif write == "write again":
            store.stage([replace(one, metadata={"n": -1}) for one in documents[: count // 2]])
        elif write == "publish":
            by_id = {row.document.id: row for row in rows}
            store.publish([(one, by_id[one.document.id]) for one in staged(store)])
        else:
            store.put(rows)
        store._database._writer = writer.connection
        return writer.statements

    assert statements(40) == statements(10)


def test_an_id_that_occurs_twice_in_a_write_is_written_twice(store: DocumentStore) -> None:
    before, again, other = (
        Document("a", "one"),
        Document("a", "two", metadata={"n": 1}),
        Document("b", "three"),
    )
    written = store.stage([before, other, again])
    assert [(one.id, one.created) for one in written] == [("a", True), ("b", True), ("a", False)]
    assert [one.document for one in staged(store)] == [other, again]
