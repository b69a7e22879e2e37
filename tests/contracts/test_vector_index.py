"""What every `VectorIndex` has to keep, against an oracle that sorts all scores.

An `IndexView` over several of them searches by the same rules.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from service.errors import InferenceError
from service.index.faiss_index import FaissIndex, Kind
from service.index.live_index import IndexView
from service.protocols import VectorIndex
from service.types import Candidate, Ids, Vectors

DIM = 16

Searched = VectorIndex | IndexView
Build = Callable[[Ids, Vectors], Searched]
BuildIndex = Callable[[Ids, Vectors], VectorIndex]


def unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def random_vectors(seed: int, n: int, dim: int = DIM) -> Vectors:
    return unit(np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32))


def oracle(
    ids: Ids, vectors: Vectors, query: Vectors, k: int, allowed: Ids | None = None
) -> list[Candidate]:
    scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).clip(-1, 1)
    chosen = zip(ids.tolist(), scores.tolist(), strict=True)
    wanted = None if allowed is None else set(allowed.tolist())
    candidates = [Candidate(i, s) for i, s in chosen if wanted is None or i in wanted]
    return sorted(candidates, key=lambda c: (-c.score, c.passage_id))[:k]


def built(ids: Ids, vectors: Vectors, kind: Kind) -> FaissIndex:
    cuts = range(0, len(ids), 100)
    batches = [(ids[i : i + 100], vectors[i : i + 100]) for i in cuts]
    return FaissIndex.build(batches, dimension=vectors.shape[1], kind=kind)


def live_view(ids: Ids, vectors: Vectors) -> IndexView:
    """The first half is in the generation, the rest in two segments."""
    half, later = len(ids) // 2, 3 * len(ids) // 4
    base = built(ids[:half], vectors[:half], "hnsw")
    parts = [slice(half, later), slice(later, None)]
    segments = tuple(built(ids[part], vectors[part], "flat") for part in parts)
    return IndexView("g1-0123abcd", 1, len(ids), base, segments, base.last_passage, 0)


@pytest.fixture(params=["flat", "hnsw"])
def build_index(request: pytest.FixtureRequest) -> BuildIndex:
    return partial(built, kind=request.param)


@pytest.fixture(params=["flat", "hnsw", "live"])
def build(request: pytest.FixtureRequest) -> Build:
    return live_view if request.param == "live" else partial(built, kind=request.param)


@pytest.fixture
def ids() -> Ids:
    # With gaps, and beyond 32 bits.
    return np.cumsum(np.random.default_rng(1).integers(1, 50, 500)) + 2**33


def test_the_best_k_come_in_order_of_score_then_id(build: Build, ids: Ids) -> None:
    vectors, queries = random_vectors(2, len(ids)), random_vectors(3, 40)
    found = build(ids, vectors).search(queries, 10)
    assert found == [oracle(ids, vectors, query, 10) for query in queries]


def test_copies_of_a_vector_are_found_lowest_ids_first(build: Build, ids: Ids) -> None:
    vectors = random_vectors(4, len(ids))
    # Far more copies than k and than the links of a graph's node, and not side by side.
    for copied in range(3):
        vectors[np.random.default_rng(copied).permutation(len(ids))[:120]] = vectors[copied]
    index = build(ids, vectors)
    assert len(index) == len(ids)
    queries = np.concatenate([vectors[:3], random_vectors(5, 20)])
    for k in (1, 7, 50, 200):
        assert index.search(queries, k) == [oracle(ids, vectors, query, k) for query in queries]


def test_all_passages_alike(build: Build, ids: Ids) -> None:
    vectors = np.repeat(random_vectors(6, 1), len(ids), axis=0)
    found = build(ids, vectors).search(vectors[:1], 30)[0]
    assert [candidate.passage_id for candidate in found] == ids[:30].tolist()


def test_k_beyond_the_size_gives_what_there_is(build: Build, ids: Ids) -> None:
    vectors, queries = random_vectors(7, 30), random_vectors(8, 5)
    found = build(ids[:30], vectors).search(queries, 1000)
    assert found == [oracle(ids[:30], vectors, query, 1000) for query in queries]


def test_an_empty_index_finds_nothing(build: Build) -> None:
    index = build(np.empty(0, np.int64), np.empty((0, DIM), np.float32))
    assert len(index) == 0
    assert index.search(random_vectors(9, 2), 10) == [[], []]


@pytest.mark.parametrize("share", [0.004, 0.1, 0.45, 0.55, 0.9, 1.0])
def test_a_filter_narrows_before_the_best_k_are_taken(build: Build, ids: Ids, share: float) -> None:
    vectors, queries = random_vectors(10, len(ids)), random_vectors(11, 20)
    vectors[::7] = queries[7]  # copies, of which only some are allowed
    allowed = np.sort(np.random.default_rng(12).permutation(ids)[: int(share * len(ids))])
    found = build(ids, vectors).search(queries, 10, allowed)
    assert found == [oracle(ids, vectors, query, 10, allowed) for query in queries]


def test_a_filter_may_name_passages_that_are_not_there(build: Build, ids: Ids) -> None:
    vectors, query = random_vectors(13, len(ids)), random_vectors(14, 1)
    index = build(ids, vectors)
    allowed = np.array([1, ids[5], ids[5] + 10**6, 2**62])
    assert index.search(query, 10, allowed) == [oracle(ids, vectors, query[0], 10, ids[5:6])]
    assert index.search(query, 10, np.empty(0, np.int64)) == [[]]


def test_what_a_query_finds_does_not_depend_on_the_others(build: Build, ids: Ids) -> None:
    vectors, queries = random_vectors(15, len(ids)), random_vectors(16, 300)
    index = build(ids, vectors)
    together = index.search(queries, 20)
    assert together == [index.search(query[None], 20)[0] for query in queries]


def test_a_larger_k_only_adds_at_the_end(build: Build, ids: Ids) -> None:
    vectors, queries = random_vectors(17, len(ids)), random_vectors(18, 20)
    index = build(ids, vectors)
    for short, long in zip(index.search(queries, 5), index.search(queries, 50), strict=True):
        assert short == long[:5]


def test_scores_are_cosines_within_their_range(build: Build, ids: Ids) -> None:
    vectors = random_vectors(19, len(ids))
    index = build(ids, vectors)
    for vector in (vectors[:50], -vectors[:50]):
        for candidates in index.search(vector, 500):
            assert all(-1.0 <= score <= 1.0 for _, score in candidates)
    assert [found[0].passage_id for found in index.search(vectors, 1)] == ids.tolist()


def test_threads_find_the_same_as_one(build: Build, ids: Ids) -> None:
    vectors, queries = random_vectors(20, len(ids)), random_vectors(21, 64)
    index = build(ids, vectors)
    alone = [index.search(query[None], 20, ids[::3])[0] for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda q: index.search(q[None], 20, ids[::3])[0], queries))
    assert together == alone


def test_queries_that_do_not_fit_are_refused(build: Build, ids: Ids) -> None:
    index = build(ids, random_vectors(22, len(ids)))
    for vectors, k in [(random_vectors(1, 1, DIM + 1), 5), (random_vectors(1, 1), 0)]:
        with pytest.raises(ValueError, match="cannot search"):
            index.search(vectors, k)
    with pytest.raises(ValueError, match="cannot search"):
        index.search(random_vectors(1, 1)[0], 5)
    with pytest.raises(InferenceError):
        index.search(random_vectors(1, 1) * np.float32(np.nan), 5)


def test_removed_passages_are_no_longer_found(build_index: BuildIndex, ids: Ids) -> None:
    vectors, queries = random_vectors(23, len(ids)), random_vectors(24, 20)
    vectors[::5] = queries[3]  # copies, of which some go
    index, gone = build_index(ids, vectors), ids[::3]
    kept = np.setdiff1d(np.arange(len(ids)), np.arange(0, len(ids), 3))
    narrowed = index.without(gone).without(np.array([7, ids[1]]))
    kept = kept[kept != 1]
    wanted = [oracle(ids[kept], vectors[kept], query, 10) for query in queries]
    assert narrowed.search(queries, 10) == wanted
    assert (len(narrowed), len(index)) == (len(kept), len(ids))
    assert index.search(queries, 10) == [oracle(ids, vectors, query, 10) for query in queries]


def test_an_index_knows_what_it_was_built_from(build_index: BuildIndex, ids: Ids) -> None:
    index = build_index(ids, random_vectors(25, len(ids))).without(ids[-3:])
    assert (index.dimension, index.last_passage) == (DIM, ids[-1])
    assert index.built_size == len(ids)
    assert build_index(ids[:0], random_vectors(26, 0)).last_passage == 0
