"""The index of a process that only reads, beside the one that writes and builds generations."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from service.errors import IndexDamagedError, StoreError
from service.index.document_store import DocumentStore
from service.index.faiss_index import FaissIndex
from service.index.followed_index import FollowedIndex
from service.index.generation import Generation, build, load_current, open_or_build, remove_others
from service.index.live_index import IndexView
from service.index.records import EncodedDocument
from service.types import EncoderIdentity

Encoded = Callable[..., EncodedDocument]
QUERIES = np.concatenate([np.eye(8, dtype=np.float32), -np.eye(8, dtype=np.float32)])
NO_GRAPH = 10**9


class Beside:
    """Both processes' sides of one store: `store` writes, `reading` reads."""

    def __init__(self, store: DocumentStore, folder: Path, identity: EncoderIdentity) -> None:
        self.store, self.folder, self.identity = store, folder / "generations", identity
        self.folder.mkdir()
        open_or_build(store, self.folder, identity, hnsw_threshold=NO_GRAPH)
        self.reading = DocumentStore(folder / "store.db", read_only=True)
        self.loaded: list[str] = []
        self.index = FollowedIndex(self.reading, self.load)

    def load(self) -> Generation:
        generation = load_current(self.reading, self.folder, self.identity)
        self.loaded.append(generation.name)
        return generation

    def build(self) -> str:
        built = build(self.store, self.folder, self.identity, hnsw_threshold=NO_GRAPH)
        remove_others(self.folder, built.name)
        return built.name

    def check(self) -> IndexView:
        """A search finds what an index would that was built of the store at this moment."""
        with self.index.view(self.reading) as (_, found):
            pass
        with self.store.view() as view:
            parts = list(view.vectors(1000))
        wanted = FaissIndex.build(parts, dimension=8, kind="flat")
        assert len(found) == len(wanted)
        assert found.search(QUERIES, 50) == wanted.search(QUERIES, 50)
        return found


@pytest.fixture
def beside(store: DocumentStore, tmp_path: Path, identity: EncoderIdentity) -> Iterator[Beside]:
    both = Beside(store, tmp_path, identity)
    yield both
    both.reading.close()


def test_it_sees_what_the_other_process_has_written(beside: Beside, encoded: Encoded) -> None:
    for i in range(6):
        beside.store.put([encoded(f"d{i}", passages=3)])
        beside.check()
        beside.store.delete([f"d{i - 2}"])
        beside.check()
    assert len(beside.loaded) == 1


def test_it_writes_nothing(beside: Beside, encoded: Encoded) -> None:
    with pytest.raises(StoreError, match="reading only"):
        beside.reading.put([encoded("d")])
    with pytest.raises(StoreError, match="reading only"):
        beside.reading.delete(["d"])


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        DocumentStore(tmp_path / "none.db", read_only=True)
    assert not (tmp_path / "none.db").exists()


def test_a_new_generation_is_no_reason_to_wait(beside: Beside, encoded: Encoded) -> None:
    beside.store.put([encoded(f"d{i}") for i in range(20)])
    beside.store.delete(["d3"])
    old = beside.check().generation
    new = beside.build()
    beside.store.put([encoded("later")])
    beside.store.delete(["d5", "d6"])
    assert beside.check().generation == old, "what it has is all that it needs"
    assert len(beside.loaded) == 1
    beside.index.take_newest()
    assert beside.check().generation == new
    assert beside.loaded[1:] == [new]
    beside.index.take_newest()
    assert beside.loaded[1:] == [new]
    beside.build()  # which cuts what this one has left out
    assert beside.check().generation == new
    beside.index.take_newest()
    newest = beside.check().generation  # read when the list was empty
    beside.store.put([encoded("last")])
    beside.build()
    assert beside.check().generation == newest


def test_what_was_removed_unseen_is_gone_nevertheless(beside: Beside, encoded: Encoded) -> None:
    """The new generation cuts the list of removed passages: only it knows that they went."""
    beside.store.put([encoded(f"d{i}") for i in range(20)])
    beside.check()
    beside.store.delete([f"d{i}" for i in range(10)])
    new = beside.build()
    assert beside.check().generation == new
    beside.store.delete(["d11"])
    beside.build()
    beside.store.delete(["d12"])
    last = beside.build()
    assert beside.check().generation == last


def test_searches_go_on_while_a_generation_is_loaded(beside: Beside, encoded: Encoded) -> None:
    beside.store.put([encoded(f"d{i}") for i in range(9)])
    beside.check()
    new, loading, may_end = beside.build(), Event(), Event()
    load = beside.index._load

    def slowly() -> Generation:
        loading.set()
        assert may_end.wait(10)
        return load()

    beside.index._load = slowly
    thread = Thread(target=beside.index.take_newest)
    thread.start()
    assert loading.wait(10)
    beside.store.put([encoded("meanwhile")])
    assert beside.check().generation != new
    may_end.set()
    thread.join()
    assert beside.check().generation == new


def test_one_that_goes_while_it_is_read_gives_way_to_the_next(
    beside: Beside, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.store.put([encoded(f"d{i}") for i in range(9)])
    beside.build()
    real, names = FaissIndex.load, []

    def load(folder: Path, *, mapped: bool) -> FaissIndex:
        if not names:
            names.append(beside.build())  # and the folder of the one before goes
            raise IndexDamagedError(f"{folder} is gone")
        return real(folder, mapped=mapped)

    monkeypatch.setattr(FaissIndex, "load", load)
    beside.index.take_newest()
    assert beside.check().generation == names[0]


def test_a_generation_that_is_gone_for_good_is_told(beside: Beside, encoded: Encoded) -> None:
    beside.store.put([encoded("d")])
    beside.store.delete(["d"])
    name = beside.build()
    shutil.rmtree(beside.folder / name)
    with (
        pytest.raises(IndexDamagedError, match=name),
        beside.index.view(beside.reading),
    ):
        pass
