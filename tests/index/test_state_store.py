"""States of passages on the disk: found by their text, gone when another model made them."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.errors import StoreDamagedError, StoreError
from service.index.state_store import StateStore

TEXTS = ["Hàm số đồng biến trên khoảng (0; 2).", "The tide turns at noon.", "満ち潮は夕方に来る。"]
STATES = [b"one" * 900, b"two", b"three" * 4000]
ROWS = list(zip([3, 7, 9], TEXTS, STATES, strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states.db"


@pytest.fixture
def states(path: Path) -> Iterator[StateStore]:
    store = StateStore(path, "head 1")
    store.put(ROWS)
    yield store
    store.close()


def test_states_are_found_by_their_text(states: StateStore) -> None:
    assert states.get([*TEXTS, "another"]) == dict(zip(TEXTS, STATES, strict=True))
    assert states.get([]) == {}
    assert states.passages().tolist() == [3, 7, 9]


def test_a_passage_with_another_text_has_other_states(states: StateStore) -> None:
    states.put([(7, "The tide turns at one.", b"new")])
    assert states.get(TEXTS[:2]) == {TEXTS[0]: STATES[0]}
    assert states.get(["The tide turns at one."]) == {"The tide turns at one.": b"new"}


def test_of_two_passages_with_one_text_one_may_go(states: StateStore) -> None:
    states.put([(12, TEXTS[1], STATES[1])])
    states.remove(states.passages()[1:2])
    assert states.get(TEXTS[1:2]) == {TEXTS[1]: STATES[1]}
    assert states.passages().tolist() == [3, 9, 12]


def test_they_stay_for_the_same_maker_and_go_for_another(states: StateStore, path: Path) -> None:
    states.close()
    again = StateStore(path, "head 1")
    assert len(again.get(TEXTS)) == 3
    again.close()
    other = StateStore(path, "head 2")
    assert other.get(TEXTS) == {}
    assert len(other.passages()) == 0
    other.close()


@pytest.mark.parametrize(
    "change",
    [
        "data = x'00'",
        "data = 'text'",
        "checksum = checksum + 1",
        "digest = (SELECT digest FROM states WHERE passage = 3)",
    ],
)
def test_damaged_states_are_not_given(states: StateStore, path: Path, change: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE states SET {change} WHERE passage = 7")
    connection.close()
    assert sorted(states.get(TEXTS)) == sorted([TEXTS[0], TEXTS[2]])
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
    for text, found in again.get(TEXTS).items():
        assert found == STATES[TEXTS.index(text)]
    for _try in range(2):  # the first may be what finds the damage
        with suppress(StoreDamagedError):
            again.put(ROWS)
    assert again.get(TEXTS) == dict(zip(TEXTS, STATES, strict=True))
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
    assert (again.losses, again.get(TEXTS)) == (1, {})
    again.close()
