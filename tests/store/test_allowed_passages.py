"""What filters keep is remembered until something is written, and no longer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.errors import InvalidInputError
from service.store.allowed_passages import AllowedPassages
from service.store.document_store import DocumentStore
from service.store.filter_grammar import parse
from service.store.sqlite_view import SqliteView
from service.types import Document, EncodedDocument

Encoded = Callable[..., EncodedDocument]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each filter that was read from the store."""
    seen: list[object] = []
    allowed = SqliteView.allowed

    def counted(self: SqliteView, filters: dict[str, object]) -> object:
        seen.append(filters)
        return allowed(self, filters)

    monkeypatch.setattr(SqliteView, "allowed", counted)
    return seen


def test_a_filter_is_read_once_for_each_revision(
    store: DocumentStore, encoded: Encoded, reads: list[object]
) -> None:
    remembered = AllowedPassages()
    store.put([encoded("a", metadata={"n": 1}), encoded("b", metadata={"n": 2})])
    with store.view() as view:
        first = remembered.of(view, {"n": 1}).tolist()
        assert remembered.of(view, {"n": {"eq": 1}}).tolist() == first == [1, 2]
    assert len(reads) == 1
    for write in (
        lambda: store.put([encoded("c", metadata={"n": 1})]),
        # Nothing but its metadata is new: the passages keep their ids.
        lambda: store.stage([Document("a", "one two", "", {"n": 2})]),
        lambda: store.delete(["c"]),
    ):
        write()
        with store.view() as view:
            for _ in range(2):
                assert remembered.of(view, {"n": 1}).tolist() == view.allowed({"n": 1}).tolist()
    assert remembered.of(view_of(store), {"n": 1}).tolist() == []


def view_of(store: DocumentStore) -> SqliteView:
    with store.view() as view:
        return SqliteView(view.connection)


def test_values_that_python_takes_for_equal_are_not_mixed_up(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded("number", metadata={"v": 1}), encoded("boolean", metadata={"v": True})])
    remembered = AllowedPassages()
    with store.view() as view:
        found = [remembered.of(view, {"v": value}).tolist() for value in (1, True, 1.0, "1")]
    assert found == [[1, 2], [3, 4], [1, 2], []]


def test_a_view_of_an_earlier_moment_gets_its_own_answer(
    store: DocumentStore, encoded: Encoded
) -> None:
    remembered = AllowedPassages()
    store.put([encoded("a", metadata={"n": 1})])
    with store.view() as before:
        assert before.revision  # the read that fixes what the view sees
        store.put([encoded("b", metadata={"n": 1})])
        with store.view() as after:
            assert remembered.of(after, {"n": 1}).tolist() == [1, 2, 3, 4]
            assert remembered.of(before, {"n": 1}).tolist() == [1, 2]
            assert remembered.of(after, {"n": 1}).tolist() == [1, 2, 3, 4]


def test_what_was_used_longest_ago_makes_room(
    store: DocumentStore, encoded: Encoded, reads: list[object]
) -> None:
    store.put([encoded(name, metadata={"n": name}) for name in "abc"])
    one = 2 * 8 + 4 * len(repr(parse({"n": "a"}))) + 200
    remembered = AllowedPassages(most_bytes=2 * one)
    with store.view() as view:
        for name in "abaca":
            remembered.of(view, {"n": name})
        assert len(reads) == 3
        remembered.of(view, {"n": "b"})
        assert len(reads) == 4
        # One larger than all the room is answered, and not kept: a filter that finds nothing too.
        for _ in range(2):
            assert len(remembered.of(view, {"n": "x" * 1000})) == 0
    assert len(reads) == 6


def test_the_remembered_cannot_be_changed(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", metadata={"n": 1})])
    with store.view() as view:
        ids = AllowedPassages().of(view, {"n": 1})
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 7


def test_a_wrong_filter_is_refused(store: DocumentStore) -> None:
    with store.view() as view, pytest.raises(InvalidInputError):
        AllowedPassages().of(view, {"n": {"ne": 1}})


def test_many_threads_get_what_the_store_says(store: DocumentStore, encoded: Encoded) -> None:
    remembered = AllowedPassages(most_bytes=2000)
    store.put([encoded(str(i), metadata={"n": i % 3}) for i in range(30)])

    def ask(number: int) -> bool:
        with store.view() as view:
            filters = {"n": number % 3}
            return bool(np.array_equal(remembered.of(view, filters), view.allowed(filters)))

    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(ask, range(200))
        for i in range(10):
            store.put([encoded(f"later {i}", metadata={"n": i % 3})])
        assert all(asked)
