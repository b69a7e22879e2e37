from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import IndexDamagedError
from service.index import faiss_index
from service.index.faiss_index import INDEX_FILE, PASSAGES_FILE, FaissIndex, Kind
from service.index.index_kinds import KINDS, kind_for
from service.types import Candidate, Ids, Vectors


def unit(vectors: NDArray[np.floating]) -> Vectors:
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def clustered(rng: np.random.Generator, n: int, dim: int) -> Vectors:
    centres = rng.standard_normal((n // 100, dim))
    noise = rng.standard_normal((n, dim))
    return unit(centres[rng.integers(0, len(centres), n)] + 0.5 * noise)


def test_it_serves_the_kinds_that_the_table_says() -> None:
    assert {name for name, kind in KINDS.items() if kind is FaissIndex} == {"flat", "hnsw"}


def index_of(vectors: Vectors, kind: Kind, batch: int = 4096) -> FaissIndex:
    ids = np.arange(1, len(vectors) + 1)
    cuts = range(0, len(ids), batch)
    batches = [(ids[i : i + batch], vectors[i : i + batch]) for i in cuts]
    return FaissIndex.build(batches, dimension=vectors.shape[1], kind=kind)


def ids_of(candidates: list[Candidate]) -> set[int]:
    return {candidate.passage_id for candidate in candidates}


def recall(found: list[list[Candidate]], wanted: list[list[Candidate]]) -> float:
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([len(ids_of(f) & ids_of(w)) / len(w) for f, w in pairs]))


def test_the_graph_finds_nearly_all_also_under_filters_and_among_copies() -> None:
    rng = np.random.default_rng(0)
    vectors = clustered(rng, 20_000, 48)
    for copied in range(20):
        vectors[rng.integers(0, len(vectors), 300)] = vectors[copied]
    near = vectors[rng.integers(0, len(vectors), 100)]
    queries = unit(near + 0.05 * rng.standard_normal(near.shape))
    exact, graph = index_of(vectors, "flat"), index_of(vectors, "hnsw")
    assert recall(graph.search(queries, 100), exact.search(queries, 100)) >= 0.98

    everyone = np.arange(1, len(vectors) + 1)
    filters: dict[str, Ids] = {
        "90 %": np.sort(rng.permutation(everyone)[:18_000]),
        "55 %": np.sort(rng.permutation(everyone)[:11_000]),
        "1 %": np.sort(rng.permutation(everyone)[:200]),
        "0.01 %": np.sort(rng.permutation(everyone)[:2]),
    }
    for name, allowed in filters.items():
        found = graph.search(queries, 100, allowed)
        wanted = exact.search(queries, 100, allowed)
        assert recall(found, wanted) >= 0.98, name


@pytest.mark.parametrize("share", [0.1, 0.55, 0.95])
def test_the_graph_is_right_where_a_filter_excludes_all_that_is_near(share: float) -> None:
    rng = np.random.default_rng(7)
    vectors = clustered(rng, 5000, 32)
    queries = unit(vectors[:1] + 0.05 * rng.standard_normal((10, 32)))
    exact, graph = index_of(vectors, "flat"), index_of(vectors, "hnsw")
    far = np.sort(np.argsort(vectors @ queries[0])[: int(share * len(vectors))] + 1)
    assert recall(graph.search(queries, 50, far), exact.search(queries, 50, far)) >= 0.98


def test_near_ties_beyond_what_float32_can_tell_are_cut_exactly() -> None:
    rng = np.random.default_rng(1)
    base = unit(rng.standard_normal((1, 384)))
    # Neighbours of one vector, each a few units in the last place away from it.
    steps = rng.integers(-3, 4, (2000, 384))
    vectors = (base.view(np.int32) + steps.astype(np.int32)).view(np.float32)
    queries = np.concatenate([base, unit(base + 0.02 * rng.standard_normal((3, 384)))])
    index = index_of(vectors, "flat")
    assert len(index) == 2000
    for query, found in zip(queries, index.search(queries, 50), strict=True):
        scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).clip(-1, 1)
        order = np.lexsort((np.arange(2000), -scores))[:50]
        assert found == [Candidate(int(i) + 1, float(scores[i])) for i in order]
    some = np.arange(1, 2001, 3)
    allowed_scores = (vectors[::3].astype(np.float64) * base.astype(np.float64)).sum(axis=1)
    best = np.lexsort((some, -allowed_scores.clip(-1, 1)))[:50]
    found = index.search(base, 50, some)[0]
    assert [candidate.passage_id for candidate in found] == some[best].tolist()


def test_the_sizes_of_batches_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    vectors = clustered(rng, 1000, 16)
    vectors[rng.integers(0, 1000, 300)] = vectors[7]
    queries = vectors[:20]
    found = [index_of(vectors, "flat", batch).search(queries, 40) for batch in (1, 33, 1000)]
    assert found[0] == found[1] == found[2]


def test_the_graph_begins_above_the_threshold() -> None:
    assert [kind_for(n, 100) for n in (0, 100, 101)] == ["flat", "flat", "hnsw"]


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_saved_index_answers_the_same(tmp_path: Path, kind: Kind) -> None:
    vectors = clustered(np.random.default_rng(3), 500, 16)
    vectors[100:150] = vectors[0]
    index = index_of(vectors, kind)
    index.save(tmp_path)
    loaded = FaissIndex.load(tmp_path)
    assert (loaded.kind, loaded.dimension, len(loaded)) == (kind, 16, 500)
    some = np.arange(1, 400)
    assert loaded.search(vectors, 30) == index.search(vectors, 30)
    assert loaded.search(vectors, 30, some) == index.search(vectors, 30, some)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_becomes_of_its_file_changes_no_loaded_index(tmp_path: Path, kind: Kind) -> None:
    vectors = clustered(np.random.default_rng(8), 500, 16)
    index_of(vectors, kind).save(tmp_path)
    loaded = FaissIndex.load(tmp_path)
    before = loaded.search(vectors, 30)
    with (tmp_path / INDEX_FILE).open("r+b") as file:
        file.write(bytes(tmp_path.joinpath(INDEX_FILE).stat().st_size))
    assert loaded.search(vectors, 30) == before


def test_an_index_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    vectors = clustered(np.random.default_rng(4), 200, 16)
    for file in (INDEX_FILE, PASSAGES_FILE):
        index_of(vectors, "flat").save(tmp_path)
        content = (tmp_path / file).read_bytes()
        for damaged in (b"", b"x" * 100, content[:-50]):
            (tmp_path / file).write_bytes(damaged)
            with pytest.raises(IndexDamagedError, match="cannot be read"):
                FaissIndex.load(tmp_path)
        (tmp_path / file).unlink()
        with pytest.raises(IndexDamagedError, match="cannot be read"):
            FaissIndex.load(tmp_path)


def test_files_of_two_indexes_do_not_go_together(tmp_path: Path) -> None:
    vectors = clustered(np.random.default_rng(5), 200, 16)
    index_of(vectors, "flat").save(tmp_path)
    passages = (tmp_path / PASSAGES_FILE).read_bytes()
    index_of(vectors[:100], "flat").save(tmp_path)
    (tmp_path / PASSAGES_FILE).write_bytes(passages)
    with pytest.raises(IndexDamagedError, match="do not fit"):
        FaissIndex.load(tmp_path)


def test_a_full_disk_is_an_error_while_saving(tmp_path: Path) -> None:
    index = index_of(clustered(np.random.default_rng(6), 200, 16), "flat")
    (tmp_path / INDEX_FILE).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        index.save(tmp_path)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_more_room_than_is_needed_changes_nothing(kind: Kind, tmp_path: Path) -> None:
    vectors = clustered(np.random.default_rng(4), 300, 16)[np.arange(900) % 300]
    batches = [(np.arange(1, 901), vectors)]
    for expected, name in ((0, "none"), (900, "all")):
        (tmp_path / name).mkdir()
        index = FaissIndex.build(batches, dimension=16, kind=kind, expected=expected)
        index.save(tmp_path / name)
        assert index.kind == kind
    for file in (INDEX_FILE, PASSAGES_FILE):
        assert (tmp_path / "none" / file).read_bytes() == (tmp_path / "all" / file).read_bytes()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_room_for_what_is_expected_is_made_at_once(kind: Kind) -> None:
    index = faiss_index._empty(8, kind, 1000)
    rows = index if kind == "flat" else faiss.downcast_index(index.storage)
    place = int(rows.codes.data())
    vectors = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)
    for start in range(0, 1000, 100):
        index.add(vectors[start : start + 100])
    assert int(rows.codes.data()) == place
    assert np.array_equal(rows.reconstruct_n(0, 1000), vectors)
