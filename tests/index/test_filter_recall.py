"""The best passages among those that a filter keeps, however few, and wherever they lie."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.index.faiss_index import FaissIndex, Kind
from service.index.live_index import IndexView
from service.types import Ids, Vectors

SIZE, DIMENSION, TOPICS, K = 10_000, 32, 50, 100
SHARES = {"50 %": 0.5, "1 %": 0.01, "0.01 %": 0.0001}


def unit(vectors: NDArray[np.floating]) -> Vectors:
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((TOPICS, DIMENSION))
    noise = 0.6 * rng.standard_normal((SIZE, DIMENSION))
    return unit(centres[rng.integers(0, TOPICS, SIZE)] + noise)


@pytest.fixture(scope="module")
def queries(vectors: Vectors) -> Vectors:
    rng = np.random.default_rng(1)
    near = vectors[rng.integers(0, SIZE, 30)]
    return unit(near + 0.1 * rng.standard_normal(near.shape))


@pytest.fixture(scope="module", params=["flat", "hnsw"])
def base(vectors: Vectors, request: pytest.FixtureRequest) -> FaissIndex:
    kind: Kind = request.param
    ids = np.arange(1, SIZE + 1)
    return FaissIndex.build([(ids, vectors)], dimension=DIMENSION, kind=kind)


def at_random(vectors: Vectors, query: NDArray[np.float32], keep: int) -> Ids:
    return np.sort(np.random.default_rng(keep).permutation(SIZE)[:keep] + 1)


def of_the_topic(vectors: Vectors, query: NDArray[np.float32], keep: int) -> Ids:
    return np.sort(np.argsort(-(vectors @ query))[:keep] + 1)


def of_other_topics(vectors: Vectors, query: NDArray[np.float32], keep: int) -> Ids:
    """The farthest: a walk towards the query meets none of them on its way."""
    return np.sort(np.argsort(vectors @ query)[:keep] + 1)


def recall(found: list[int], vectors: Vectors, query: NDArray[np.float32], allowed: Ids) -> float:
    scores = vectors[allowed - 1].astype(np.float64) @ query.astype(np.float64)
    wanted = allowed[np.lexsort((allowed, -scores))[:K]]
    return len(set(found) & set(wanted.tolist())) / len(wanted)


@pytest.mark.parametrize("kept", [at_random, of_the_topic, of_other_topics])
@pytest.mark.parametrize("share", SHARES)
def test_filters_cost_no_recall(
    base: FaissIndex,
    vectors: Vectors,
    queries: Vectors,
    kept: Callable[..., Ids],
    share: str,
) -> None:
    recalls = []
    for query in queries:
        allowed = kept(vectors, query, int(SHARES[share] * SIZE))
        (candidates,) = base.search(query[None], K, allowed)
        found = [candidate.passage_id for candidate in candidates]
        assert set(found) <= set(allowed.tolist())
        assert len(found) == min(K, len(allowed))
        recalls.append(recall(found, vectors, query, allowed))
    assert np.mean(recalls) >= 0.99
    if base.kind == "flat":
        assert min(recalls) == 1.0


@pytest.mark.parametrize("kept", [at_random, of_the_topic, of_other_topics])
@pytest.mark.parametrize("share", SHARES)
def test_nor_beside_what_came_and_went_since_the_generation(
    base: FaissIndex,
    vectors: Vectors,
    queries: Vectors,
    kept: Callable[..., Ids],
    share: str,
) -> None:
    """The first 9,000 are the generation's, the others came in two lots; each seventh is gone."""
    ids = np.arange(1, SIZE + 1)
    gone = ids[::7]
    parts = [(ids[9_000:9_500], vectors[9_000:9_500]), (ids[9_500:], vectors[9_500:])]
    generation = FaissIndex.build(
        [(ids[:9_000], vectors[:9_000])], dimension=DIMENSION, kind="flat"
    ) if base.kind == "flat" else base.without(ids[9_000:])  # fmt: skip
    segments = tuple(
        FaissIndex.build([part], dimension=DIMENSION, kind="flat").without(gone) for part in parts
    )
    view = IndexView("g", 1, SIZE, generation.without(gone), segments, SIZE, 0)
    recalls = []
    for query in queries[:10]:
        allowed = kept(vectors, query, int(SHARES[share] * SIZE))
        live = np.setdiff1d(allowed, gone)
        (candidates,) = view.search(query[None], K, allowed)
        found = [candidate.passage_id for candidate in candidates]
        assert set(found) <= set(live.tolist())
        assert len(found) == min(K, len(live))
        recalls.append(recall(found, vectors, query, live) if len(live) else 1.0)
    assert np.mean(recalls) >= 0.99
