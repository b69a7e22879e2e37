"""What an evaluation keeps in memory of a collection's passages."""

from collections.abc import Mapping, Sequence

import pytest

from service.evaluation import searching
from service.types import StoredPassage

PASSAGES = [StoredPassage(id_, "d", "", "text", 0, 4, {}) for id_ in range(4)]


def test_what_is_stored_of_a_passage_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_KEPT_BYTES", 6)
    asked: list[list[int]] = []

    def stored(passages: Sequence[StoredPassage]) -> Mapping[int, bytes]:
        asked.append([passage.id for passage in passages])
        return {passage.id: bytes([passage.id]) * 2 for passage in passages if passage.id}

    kept = searching._kept(stored)
    assert kept(PASSAGES[1:3]) == kept(PASSAGES[1:3]) == {1: b"\1\1", 2: b"\2\2"}
    assert kept(PASSAGES) == {1: b"\1\1", 2: b"\2\2", 3: b"\3\3"}
    assert asked == [[1, 2], [0, 3]]  # passage 0 has nothing stored
    assert kept(PASSAGES[1:]) == {1: b"\1\1", 2: b"\2\2", 3: b"\3\3"}
    assert asked == [[1, 2], [0, 3]]


def test_what_is_kept_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_KEPT_BYTES", 3)
    asked: list[list[int]] = []

    def stored(passages: Sequence[StoredPassage]) -> Mapping[int, bytes]:
        asked.append([passage.id for passage in passages])
        return {passage.id: bytes(2) for passage in passages}

    kept = searching._kept(stored)
    for passage in (PASSAGES[0], PASSAGES[1], PASSAGES[0]):
        assert kept([passage]) == {passage.id: bytes(2)}
    assert asked[0] == [0]
    assert asked[-1] == [0]  # it gave way to the second
