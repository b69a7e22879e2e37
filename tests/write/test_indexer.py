"""The threads behind a collection: what one bad document or one failure does to the others."""

import gc
import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service.errors import InferenceError, NotReadyError, StoreFullError
from service.index.generation import build, open_or_build
from service.index.live_index import LiveIndex
from service.store.data_folder import DataFolder
from service.store.document_store import DocumentStore
from service.store.sqlite_view import SqliteView
from service.store.state_store import StateStore
from service.types import Document, Ids, StoredDocument, StoredPassage, Vectors
from service.write import indexer as module
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.live import index_of
from tests.fixtures.stores import now


class Moody(HashEncoder):
    """Gives no finite vector for texts with `poison`, and none at all for some others."""

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        if any("raised" in text for text in texts):
            raise InferenceError("a vector is not finite")
        if any("too much" in text for text in texts):
            raise RuntimeError("CUDA out of memory")
        if any("broken" in text for text in texts):
            raise OSError("out of memory")
        vectors = super().encode_passages(texts)
        vectors[["poison" in text for text in texts]] = np.nan
        return vectors


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def index(folder: DataFolder) -> LiveIndex:
    return index_of(folder)


@pytest.fixture
def indexer(
    folder: DataFolder, index: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Indexer]:
    monkeypatch.setattr(module, "_PAUSE_S", 0.02)
    ingestor = Ingestor(folder.store, Moody(), overlap=0)
    indexer = Indexer(folder.main, index, ingestor, Moody.identity, hnsw_threshold=1000)
    yield indexer
    indexer.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def waiting(folder: DataFolder) -> int:
    with folder.store.view() as store:
        return len(store.waiting(100))


def document(folder: DataFolder, id_: str) -> StoredDocument:
    with folder.store.view() as store:
        found = store.document(id_)
    assert found is not None
    return found


@pytest.mark.parametrize("bad", ["poison", "raised"])
def test_a_document_without_finite_vectors_holds_up_no_other(
    folder: DataFolder, indexer: Indexer, bad: str
) -> None:
    texts = {f"d{i}": f"text {i} {bad if i in (3, 20) else ''}" for i in range(40)}
    folder.store.stage([Document(id_, text) for id_, text in texts.items()])
    indexer.start()
    until(lambda: not waiting(folder))
    for id_, text in texts.items():
        found = document(folder, id_)
        assert found.indexed == (bad not in text)
        assert ("not finite" in str(found.problem)) == (bad in text)
    assert now(folder.store).counts == (38, 38)
    assert indexer.problems == []


def test_a_document_that_the_encoder_fails_on_holds_up_no_other(
    folder: DataFolder, indexer: Indexer, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {f"d{i}": f"text {i} {'too much' if i == 3 else ''}" for i in range(12)}
    folder.store.stage([Document(id_, text) for id_, text in texts.items()])
    indexer.start()
    until(lambda: not waiting(folder))
    found = document(folder, "d3")
    assert found.problem == "the encoder failed on it; the server's log says why"
    assert "CUDA out of memory" in caplog.text
    assert now(folder.store).counts == (11, 11)
    assert indexer.problems == []


def test_closing_does_not_wait_for_the_end_of_a_build(
    folder: DataFolder, index: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ingestor(folder.store, Moody(), overlap=0).ingest(
        [Document(f"d{i}", f"text {i}") for i in range(40)]
    )
    monkeypatch.setattr("service.index.generation._BATCH", 10)
    building, go_on, batches = threading.Event(), threading.Event(), []
    vectors = SqliteView.vectors

    def slow(view: SqliteView, batch: int, after: int = 0) -> Iterator[tuple[Ids, Vectors]]:
        if threading.current_thread().name == "compactor":
            batches.append(after)
            building.set()
            go_on.wait(20)
        return vectors(view, batch, after)

    ingestor = Ingestor(folder.store, Moody(), overlap=0)
    indexer = Indexer(folder.main, index, ingestor, Moody.identity, hnsw_threshold=1000)
    monkeypatch.setattr(module, "worth_building", lambda *_: True)
    monkeypatch.setattr(SqliteView, "vectors", slow)
    before = now(folder.store).generation
    indexer.start()
    assert building.wait(20)
    with ThreadPoolExecutor() as pool:
        closed = pool.submit(indexer.close)
        until(indexer._closing.is_set)
        go_on.set()
        closed.result(20)
    assert len(batches) == 1
    assert indexer.problems == []
    assert now(folder.store).generation == before
    with pytest.raises(NotReadyError):
        indexer.compact()


def test_after_a_failure_nobody_foresaw_the_work_goes_on(
    folder: DataFolder, indexer: Indexer, caplog: pytest.LogCaptureFixture
) -> None:
    indexer.start()
    folder.store.stage([Document("bad", "broken")])
    with caplog.at_level(logging.ERROR):
        indexer.wake()
        until(lambda: indexer.problems == ["indexer: failed; see the log"])
        time.sleep(0.1)
    assert caplog.text.count("Traceback") == 1, "told once, with its trace"
    assert "out of memory" in caplog.text
    folder.store.stage([Document("good", "text"), Document("bad", "mended")])
    indexer.wake()
    until(lambda: not waiting(folder))
    until(lambda: not indexer.problems)
    assert document(folder, "good").indexed


def test_what_an_earlier_process_left_is_indexed_at_the_start(
    folder: DataFolder, indexer: Indexer
) -> None:
    folder.store.stage([Document("d", "text")])
    indexer.start()
    until(lambda: not waiting(folder))
    assert now(folder.store).counts == (1, 1)


def test_a_graph_that_a_start_left_out_is_built_behind_the_searches(
    folder: DataFolder, indexer: Indexer
) -> None:
    rows = [Document(f"d{i}", f"text {i} {i % 7}") for i in range(1100)]
    Ingestor(folder.store, Moody(), overlap=0).ingest(rows)
    generation = open_or_build(
        folder.store, folder.generations, Moody.identity, hnsw_threshold=1000
    )
    assert generation.index.kind == "flat"
    build(folder.store, folder.generations, Moody.identity, hnsw_threshold=10**6)
    generation = open_or_build(
        folder.store, folder.generations, Moody.identity, hnsw_threshold=1000
    )
    assert (generation.index.kind, len(generation.index)) == ("flat", 1100)
    with folder.store.view() as view:
        live = LiveIndex(generation, view)
    ingestor = Ingestor(folder.store, Moody(), overlap=0)
    another = Indexer(folder.main, live, ingestor, Moody.identity, hnsw_threshold=1000)
    another.start()
    until(lambda: live.latest.base.kind == "hnsw")
    another.close()
    assert len(live.latest) == 1100


def test_a_compaction_that_cannot_be_recorded_leaves_no_folder_behind(
    folder: DataFolder, index: LiveIndex, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ingestor(folder.store, Moody(), overlap=0).ingest([Document("d", "text")])
    before = [path.name for path in folder.generations.iterdir()]

    def full(*_: object) -> None:
        raise StoreFullError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(DocumentStore, "set_generation", full)
        with pytest.raises(StoreFullError):
            indexer.compact()
    assert [path.name for path in folder.generations.iterdir()] == before
    folder.store.delete(["d"])
    folder.store.stage([Document("e", "another text")])
    Ingestor(folder.store, Moody(), overlap=0).index_staged()
    with index.view(folder.store) as (store, view):
        assert len(view) == store.counts.passages == 1
    compacted = indexer.compact()
    assert [path.name for path in folder.generations.iterdir()] == [compacted.name]


def test_a_closed_one_goes_without_the_garbage_collector(
    folder: DataFolder, index: LiveIndex
) -> None:
    ingestor = Ingestor(folder.store, Moody(), overlap=0)
    indexer = Indexer(folder.main, index, ingestor, Moody.identity, hnsw_threshold=1000)
    indexer.start()
    indexer.close()
    gone = weakref.ref(indexer)
    gc.disable()
    try:
        del indexer
        assert gone() is None
    finally:
        gc.enable()


def test_lost_token_states_wake_their_thread(
    folder: DataFolder, index: LiveIndex, tmp_path: Path
) -> None:
    file = StateStore(tmp_path / "states.db", "a reranker")
    passage = StoredPassage(1, "d", "", "a text", 0, 6, {})
    file.put([(passage, b"states")])
    losses: list[int] = []

    class States:
        def __init__(self) -> None:
            self.file, self.close = file, file.close

        def follow(self) -> bool:
            losses.append(file.losses)
            return False

    indexer = Indexer(
        folder.main,
        index,
        Ingestor(folder.store, HashEncoder(), overlap=0),
        HashEncoder().identity,
        hnsw_threshold=1000,
        states=States(),  # type: ignore[arg-type]
    )
    indexer.start()
    until(lambda: bool(losses) and not indexer._workers[-1].awake.is_set())
    with sqlite3.connect(tmp_path / "states.db") as connection:
        connection.execute("UPDATE states SET checksum = checksum + 1")
    connection.close()
    assert file.get([passage]) == {}
    until(lambda: losses[-1] == 1)
    indexer.close()
