"""States of passages on the disk: found by id, gone when another model or store made them."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import StoreDamagedError, StoreError
from service.store.state_store import StateStore
from service.types import Mark, StoredPassage

TEXTS = ["Hàm số đồng biến trên khoảng (0; 2).", "The tide turns at noon.", "満ち潮は夕方に来る。"]
STATES = [b"one" * 900, b"two", b"three" * 4000]


def passage(id_: int, text: str, title: str = "") -> StoredPassage:
    return StoredPassage(id_, f"d{id_}", title, text, 0, len(text), {})


PASSAGES = [passage(id_, text) for id_, text in zip([3, 7, 9], TEXTS, strict=True)]
ROWS = list(zip(PASSAGES, STATES, strict=True))
EVERY = {3: STATES[0], 7: STATES[1], 9: STATES[2]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states.db"


@pytest.fixture
def states(path: Path) -> Iterator[StateStore]:
    store = StateStore(path, "head 1")
    store.put(ROWS)
    yield store
    store.close()


def test_states_are_found_by_their_passage(states: StateStore) -> None:
    assert states.get([*PASSAGES, passage(8, TEXTS[1])]) == EVERY
    assert states.get([]) == {}
    assert states.passages().tolist() == [3, 7, 9]
    assert states.passages(after=3).tolist() == [7, 9]
    states.remove(states.passages()[1:2])
    assert states.get(PASSAGES).keys() == {3, 9}


@pytest.mark.parametrize(
    "other",
    [
        passage(7, "The tide turns at one."),
        passage(7, TEXTS[1], "Tides"),
        replace(PASSAGES[1], place=Mark(0, None, ("Tides",))),
    ],
)
def test_a_passage_never_gets_states_of_another_one(
    states: StateStore, other: StoredPassage
) -> None:
    """As after a backup of the store alone was put back: its next passages have known ids."""
    assert states.get([PASSAGES[0], other]) == {3: STATES[0]}
    assert (states.losses, states.passages().tolist()) == (1, [3, 9])
    states.put([(other, b"new")])
    assert states.get([other]) == {7: b"new"}


def test_they_stay_for_the_same_maker_and_go_for_another(states: StateStore, path: Path) -> None:
    states.close()
    again = StateStore(path, "head 1")
    assert len(again.get(PASSAGES)) == 3
    again.close()
    other = StateStore(path, "head 2")
    assert other.get(PASSAGES) == {}
    assert len(other.passages()) == 0
    other.close()


@pytest.mark.parametrize(
    "change",
    [
        "data = x'00'",
        "data = 'text'",
        "checksum = checksum + 1",
        "data = (SELECT data FROM states WHERE passage = 3)",
    ],
)
def test_damaged_states_are_not_given(states: StateStore, path: Path, change: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE states SET {change} WHERE passage = 7")
    connection.close()
    assert states.get(PASSAGES).keys() == {3, 9}
    assert states.losses == 1
    assert states.passages().tolist() == [3, 9]


@pytest.mark.parametrize("at", [0, 30, 5000])
def test_a_file_that_is_no_database_any_more_is_made_again(path: Path, at: int) -> None:
    first = StateStore(path, "head 1")
    first.put(ROWS)
    first.close()
    data = bytearray(path.read_bytes())
    data[at : at + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    again = StateStore(path, "head 1")
    assert again.get(PASSAGES).items() <= EVERY.items()
    for _try in range(2):  # the first may be what finds the damage
        with suppress(StoreDamagedError):
            again.put(ROWS)
    assert again.get(PASSAGES) == EVERY
    assert again.passages().tolist() == [3, 7, 9]
    again.close()


def test_a_folder_in_the_way_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError):
        StateStore(path, "head 1")


def test_an_older_versions_file_is_made_again(states: StateStore, path: Path) -> None:
    states.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = StateStore(path, "head 1")
    assert (again.losses, again.get(PASSAGES)) == (1, {})
    again.close()
