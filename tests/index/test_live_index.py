"""The live index against a FAISS index that is built afresh from what the store holds."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.index import generation as generation_module
from service.index.faiss_index import FaissIndex, Kind
from service.index.generation import Generation, build, open_or_build, worth_building
from service.index.live_index import IndexView, LiveIndex
from service.store.document_store import DocumentStore
from service.store.sqlite_view import SqliteView
from service.types import Candidate, Document, EncodedDocument, EncoderIdentity, Ids, Span, Vectors
from tests.fixtures.stores import now

Encoded = Callable[..., EncodedDocument]
QUERIES = np.concatenate([np.eye(8, dtype=np.float32), -np.eye(8, dtype=np.float32)])
NO_GRAPH = 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "generations"
    folder.mkdir()
    return folder


@pytest.fixture
def live(store: DocumentStore, folder: Path, identity: EncoderIdentity) -> LiveIndex:
    return opened(store, folder, identity)


def opened(store: DocumentStore, folder: Path, identity: EncoderIdentity) -> LiveIndex:
    generation = open_or_build(store, folder, identity, hnsw_threshold=NO_GRAPH)
    with store.view() as view:
        return LiveIndex(generation, view)


def everything(store: DocumentStore) -> tuple[Ids, Vectors]:
    with store.view() as view:
        parts = list(view.vectors(1000))
    ids = [ids for ids, _ in parts] or [np.empty(0, np.int64)]
    vectors = [vectors for _, vectors in parts] or [np.empty((0, 8), np.float32)]
    return np.concatenate(ids), np.concatenate(vectors)


def fresh(store: DocumentStore, kind: Kind = "flat") -> FaissIndex:
    return FaissIndex.build([everything(store)], dimension=8, kind=kind)


def latest(live: LiveIndex, store: DocumentStore) -> IndexView:
    with live.view(store) as (_, index):
        return index


def answers(index: IndexView | FaissIndex, k: int = 15) -> list[list[Candidate]]:
    return index.search(QUERIES, k)


def check(live: LiveIndex, store: DocumentStore) -> IndexView:
    """It finds what an index built this moment finds: same passages, order, scores to the bit."""
    index, wanted = latest(live, store), fresh(store)
    assert len(index) == len(wanted)
    assert index.documents == now(store).counts.documents
    for k in (1, 15, 1000):
        assert answers(index, k) == answers(wanted, k)
    some = everything(store)[0][::3]
    assert index.search(QUERIES, 9, some) == wanted.search(QUERIES, 9, some)
    return index


def clustered(seed: int, passages: int) -> list[EncodedDocument]:
    """One document per passage, around twelve centres, a tenth of them copies."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, 8))
    vectors = centres[rng.integers(12, size=passages)] + 0.3 * rng.standard_normal((passages, 8))
    vectors[rng.random(passages) < 0.1] = vectors[0]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [
        EncodedDocument(Document(f"{seed}-{i}", "text"), [Span(0, 4)], vectors[i : i + 1])
        for i in range(passages)
    ]


def test_what_is_put_is_found_by_the_next_search(
    store: DocumentStore, live: LiveIndex, encoded: Encoded
) -> None:
    assert answers(latest(live, store)) == [[]] * 16
    for i in range(5):
        store.put([encoded(f"d{i}", passages=3)])
        check(live, store)


def test_what_is_deleted_is_gone_with_the_next_search(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, encoded: Encoded
) -> None:
    store.put([encoded(f"base{i}") for i in range(20)])
    live = opened(store, folder, identity)
    store.put([encoded(f"later{i}") for i in range(20)])
    for ids in (["base3"], ["later4", "base5"], [f"base{i}" for i in range(20)]):
        latest(live, store)
        store.delete(ids)
        check(live, store)
    store.delete([f"later{i}" for i in range(20)])
    assert len(check(live, store)) == 0


def test_an_updated_document_is_found_as_it_is_now_only(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, encoded: Encoded
) -> None:
    store.put([encoded(f"d{i}") for i in range(10)])
    live = opened(store, folder, identity)
    for _ in range(3):
        store.put([encoded("d3", passages=4), encoded("d7", passages=1)])
        check(live, store)


def test_many_small_writes_make_few_segments(
    store: DocumentStore, live: LiveIndex, encoded: Encoded
) -> None:
    for i in range(200):
        store.put([encoded(f"d{i}", passages=1)])
        sizes = [len(segment) for segment in latest(live, store).segments]
        assert sum(sizes) == i + 1
        assert all(one >= 2 * other for one, other in pairwise(sizes))
    check(live, store)
    store.delete([f"d{i}" for i in range(150)])
    index = check(live, store)
    assert sum(map(len, index.segments)) == 50


def test_segments_that_lost_all_passages_are_let_go(
    store: DocumentStore, live: LiveIndex, encoded: Encoded
) -> None:
    for i in range(40):
        store.put([encoded("same")])
        assert len(latest(live, store).segments) == 1, i


def test_copies_of_vectors_over_base_and_segments_come_in_the_order_of_ids(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, encoded: Encoded
) -> None:
    copy = encoded("copy", passages=1)
    store.put([copy._replace(document=Document(f"base{i}", "one two")) for i in range(30)])
    live = opened(store, folder, identity)
    for i in range(30):
        store.put([copy._replace(document=Document(f"later{i}", "one two"))])
        latest(live, store)
    store.delete([f"base{i}" for i in range(0, 30, 2)] + [f"later{i}" for i in range(0, 30, 3)])
    index = check(live, store)
    (found,) = index.search(copy.vectors, 100)
    assert [candidate.passage_id for candidate in found] == everything(store)[0].tolist()


@pytest.mark.parametrize("removed", [0.3, 0.7])
def test_a_graph_of_which_much_was_removed_still_finds_the_rest(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, removed: float
) -> None:
    store.put(clustered(1, 3000))
    generation = open_or_build(store, folder, identity, hnsw_threshold=1000, complete=True)
    assert generation.index.kind == "hnsw"
    with store.view() as view:
        live = LiveIndex(generation, view)
    gone = np.random.default_rng(2).permutation(3000)[: int(removed * 3000)]
    store.delete([f"1-{i}" for i in gone])
    store.put(clustered(3, 200))
    index, wanted = latest(live, store), fresh(store)
    assert index.base.kind == "hnsw"
    ids = set(everything(store)[0].tolist())
    found = [{c.passage_id for c in row} for row in answers(index, 100)]
    best = [{c.passage_id for c in row} for row in answers(wanted, 100)]
    assert all(row <= ids and len(row) == 100 for row in found)
    shared = [len(a & b) / 100 for a, b in zip(found, best, strict=True)]
    assert np.mean(shared) >= 0.99


def test_a_new_generation_takes_over_with_what_came_while_it_was_built(
    store: DocumentStore,
    live: LiveIndex,
    folder: Path,
    identity: EncoderIdentity,
    encoded: Encoded,
) -> None:
    store.put([encoded(f"d{i}") for i in range(30)])
    latest(live, store)
    store.delete(["d1"])  # which the build sees, and no search before it

    def use(generation: Generation) -> None:
        # After the build's view of the store, before the swap; the searches see all of it.
        store.delete(["d2", "d3"])
        store.put([encoded("new"), encoded("d4", passages=5)])
        check(live, store)
        with store.view() as view:
            live.swap(generation, view)
        check(live, store)

    generation = build(store, folder, identity, hnsw_threshold=NO_GRAPH, use=use)
    index = check(live, store)
    assert index.generation == generation.name
    again = opened(store, folder, identity)
    assert check(again, store).generation == generation.name


def test_a_build_holds_no_view_of_the_store_and_misses_nothing_that_stays(
    store: DocumentStore,
    live: LiveIndex,
    folder: Path,
    identity: EncoderIdentity,
    encoded: Encoded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between any two of its batches documents come and go, also those it has and is to have."""
    monkeypatch.setattr(generation_module, "_BATCH", 16)
    store.put([encoded(f"d{i}") for i in range(100)])
    rounds = iter(range(1000))
    build_index = FaissIndex.build

    def slowly(batches: Iterator[tuple[Ids, Vectors]], **options: Any) -> FaissIndex:
        def each() -> Iterator[tuple[Ids, Vectors]]:
            for batch in batches:
                i = next(rounds)
                store.delete([f"d{i}", f"d{50 + i}", f"d{99 - i}"])
                store.put([encoded(f"new{i}"), encoded(f"d{30 + i}")])
                check(live, store)
                yield batch

        return build_index(each() if options["kind"] == "hnsw" else batches, **options)

    monkeypatch.setattr(FaissIndex, "build", slowly)

    def use(generation: Generation) -> None:
        with store.view() as view:
            live.swap(generation, view)

    build(store, folder, identity, hnsw_threshold=10, use=use)
    assert next(rounds) > 5
    index = latest(live, store)
    assert index.base.kind == "hnsw"
    found = {candidate.passage_id for row in answers(index, 1000) for candidate in row}
    assert found == set(everything(store)[0].tolist())
    again = opened(store, folder, identity)
    assert len(latest(again, store)) == now(store).counts.passages


def test_a_swap_from_an_older_view_is_caught_up_by_the_next_search(
    store: DocumentStore,
    live: LiveIndex,
    folder: Path,
    identity: EncoderIdentity,
    encoded: Encoded,
) -> None:
    store.put([encoded(f"d{i}") for i in range(10)])
    generation = open_or_build(store, folder, identity, hnsw_threshold=NO_GRAPH, complete=True)
    with store.view() as older:
        store.put([encoded("new")])
        store.delete(["d1"])
        latest(live, store)
        live.swap(generation, older)
    check(live, store)


def test_a_generation_before_the_last_removals_is_loaded_and_replayed(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, encoded: Encoded
) -> None:
    store.put([encoded(f"d{i}") for i in range(30)])
    built = latest(opened(store, folder, identity), store).generation
    for i in range(10):
        store.put([encoded("again")])
        store.delete([f"d{i}"])
    index = check(opened(store, folder, identity), store)
    assert index.generation == built


def test_a_start_builds_no_graph_but_loads_the_one_that_is_there(
    store: DocumentStore, folder: Path, identity: EncoderIdentity
) -> None:
    store.put(clustered(1, 300))
    first = open_or_build(store, folder, identity, hnsw_threshold=100)
    assert first.index.kind == "flat"
    graph = build(store, folder, identity, hnsw_threshold=100)
    assert graph.index.kind == "hnsw"
    store.put(clustered(2, 200))
    again = open_or_build(store, folder, identity, hnsw_threshold=100)
    assert (again.name, again.index.kind, again.rebuilt_because) == (graph.name, "hnsw", None)


def test_a_view_already_given_is_not_changed_by_later_writes(
    store: DocumentStore, live: LiveIndex, encoded: Encoded
) -> None:
    store.put([encoded(f"d{i}") for i in range(10)])
    with live.view(store) as (view, index):
        before = answers(index)
        store.delete(["d1", "d2"])
        store.put([encoded("new")])
        assert latest(live, store).revision > index.revision
        assert answers(index) == before
        assert view.revision == index.revision
        assert view.counts.passages == len(index)


def test_another_reader_cannot_bring_the_index_past_a_view_that_is_being_opened(
    store: DocumentStore, live: LiveIndex, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([encoded("before")])
    open_view = DocumentStore.view

    def write_and_read() -> None:
        store.put([encoded("meanwhile")])
        latest(live, store)

    other = threading.Thread(target=write_and_read)

    @contextmanager
    def view_and_then_the_other(self: DocumentStore) -> Iterator[SqliteView]:
        with open_view(self) as view:
            monkeypatch.undo()
            other.start()
            other.join(timeout=0.2)  # it waits, or this would be the older view of the two
            yield view

    monkeypatch.setattr(DocumentStore, "view", view_and_then_the_other)
    with live.view(store) as (view, index):
        assert view.revision == index.revision
        assert len(index) == view.counts.passages == 2
    other.join()
    assert len(check(live, store)) == 4


def test_without_passes_over_ids_that_are_not_there_and_shares_what_is_large() -> None:
    ids = np.array([2, 5, 9], np.int64)
    index = FaissIndex.build([(ids, np.eye(3, 8, dtype=np.float32))], dimension=8, kind="flat")
    same = index.without(np.array([1, 3, 10**12]))
    assert (len(same), len(same.without(np.array([2, 3, 9]))), len(index)) == (3, 1, 3)
    assert same.built_size == 3
    none = same.without(ids)
    assert len(none) == 0
    assert answers(none) == [[]] * 16
    kept, vectors = same.without(np.array([5])).passages()
    assert kept.tolist() == [2, 9]
    assert np.array_equal(vectors, np.eye(3, 8, dtype=np.float32)[[0, 2]])
    (found,) = same.without(np.array([2])).search(QUERIES[:1], 3, np.array([2, 5]))
    assert [candidate.passage_id for candidate in found] == [5]


@pytest.mark.parametrize(
    ("kind", "passages", "changes", "due"),
    [
        ("flat", 0, 4096, False),
        ("flat", 0, 4097, True),
        ("flat", 80_000, 10_000, False),
        ("flat", 80_000, 10_001, True),
        ("flat", 100_000, 0, False),
        ("flat", 100_001, 0, True),  # a graph is due
        ("hnsw", 100_001, 0, False),
        ("hnsw", 80_000, 0, False),
    ],
)
def test_a_generation_gives_way_after_enough_changes_or_to_a_graph(
    kind: Kind, passages: int, changes: int, due: bool
) -> None:
    base: Any = SimpleNamespace(kind=kind, built_size=passages)
    assert worth_building(base, changes, hnsw_threshold=100_000) == due


def test_store_and_index_are_of_one_moment_while_others_write_and_compact(
    store: DocumentStore,
    live: LiveIndex,
    folder: Path,
    identity: EncoderIdentity,
    encoded: Encoded,
) -> None:
    """Documents of two passages, replaced all the time: no reader sees one of them by halves."""
    store.put([encoded(f"d{i}") for i in range(20)])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.put([encoded("d3"), encoded("d7")])

    def compact() -> None:
        while not stop.is_set():
            build(
                store,
                folder,
                identity,
                hnsw_threshold=NO_GRAPH,
                use=use,
            )

    def use(generation: Generation) -> None:
        with store.view() as view:
            live.swap(generation, view)

    def read() -> None:
        for _ in range(150):
            with live.view(store) as (view, index):
                assert view.revision == index.revision
                assert len(index) == view.counts.passages == 40
                (found,) = index.search(QUERIES[:1], 40)
                passages = view.passages([candidate.passage_id for candidate in found])
                assert len(passages) == 40

    with ThreadPoolExecutor(4) as pool:
        background = [pool.submit(write), pool.submit(compact)]
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for reader in readers:
                reader.result()
        finally:
            stop.set()
        for worker in background:
            worker.result()
