"""Four bits a number: what is lost, and what a match then is."""

import numpy as np
import pytest

from service.reranker.packed_states import PackedPassages, is_packed, pack

rng = np.random.default_rng(0)
DIMENSION, HIDDEN = 128, 24


def unit(tokens: int, dimension: int = DIMENSION) -> np.ndarray:
    vectors = rng.normal(size=(tokens, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def packed(vectors: np.ndarray, ids: np.ndarray | None = None) -> bytes:
    ids = np.arange(len(vectors), dtype=np.int32) if ids is None else ids
    return pack(ids, vectors, unit(1, HIDDEN)[0], len(vectors) > 4)


def test_what_is_packed_is_read() -> None:
    pooled = unit(3, HIDDEN)
    ids = [rng.integers(0, 250_000, tokens).astype(np.int32) for tokens in (1, 3, 200)]
    parts = [pack(own, unit(len(own)), p, len(own) > 4) for own, p in zip(ids, pooled, strict=True)]
    read = PackedPassages.of(parts, DIMENSION, HIDDEN)
    assert read.tokens["id"].tolist() == (np.concatenate(ids) % 65536).tolist()
    assert read.starts.tolist() == [0, 1, 4]
    assert read.truncated.tolist() == [False, False, True]
    assert np.abs(read.pooled - pooled).max() <= np.abs(pooled).max() / 250


def test_a_passage_of_a_hundred_pieces_takes_seven_kilobytes() -> None:
    data = pack(np.zeros(100, np.int32), unit(100), unit(1, 384)[0], truncated=False)
    assert len(data) == 7192


@pytest.mark.parametrize("data", [b"", b"abc", packed(unit(3))[:-1], b"\0" * 32])
def test_what_is_none_is_refused(data: bytes) -> None:
    assert not is_packed(data, DIMENSION, HIDDEN)


@pytest.mark.parametrize("dimension", [2, 33, 64])
def test_it_is_of_one_dimension(dimension: int) -> None:
    data = packed(unit(3, dimension))
    assert is_packed(data, dimension, HIDDEN)
    assert not is_packed(data, DIMENSION, HIDDEN)
    assert not is_packed(data, dimension, HIDDEN + 1)


@pytest.mark.parametrize("peaked", [False, True])
def test_a_product_is_off_by_little_and_by_nothing_on_the_mean(peaked: bool) -> None:
    """Also where a few numbers have nearly all of the length, as states do."""
    shape = np.where(np.arange(DIMENSION) < 4, 20.0, 1.0) if peaked else np.ones(DIMENSION)
    vectors, queries = unit(500) * shape, unit(50) * shape
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    ids = np.full(len(queries), 250_000, np.int32)
    alone = [packed(vector[None].astype(np.float32)) for vector in vectors]
    read = PackedPassages.of(alone, DIMENSION, HIDDEN)
    error = read.best_matches(queries.astype(np.float32), ids, 0.5) - queries @ vectors.T
    assert error.std() < 0.012
    assert abs(error.mean()) < 0.002


@pytest.mark.parametrize("asked", [1, 4, 70])
def test_the_best_match_is_the_greatest_product_plus_what_equal_pieces_get(asked: int) -> None:
    query, query_ids = unit(asked), rng.integers(0, 9, asked).astype(np.int32)
    tokens = [(unit(n), rng.integers(0, 9, n).astype(np.int32)) for n in (3, 1, 7)]
    parts = [packed(vectors, ids) for vectors, ids in tokens]
    found = PackedPassages.of(parts, DIMENSION, HIDDEN).best_matches(query, query_ids, 0.25)
    assert found.shape == (asked, 3)
    for column, (vectors, ids) in zip(found.T, tokens, strict=True):
        products = vectors @ query.T + 0.25 * (ids[:, None] == query_ids)
        assert column == pytest.approx(products.max(axis=0), abs=0.05)
    each = [
        PackedPassages.of([part], DIMENSION, HIDDEN).best_matches(query, query_ids, 0.25)
        for part in parts
    ]
    assert np.array_equal(found, np.hstack(each)), "a match depends on its company"


def test_a_vector_of_zeros_matches_nothing() -> None:
    data = packed(np.zeros((1, DIMENSION), np.float32))
    read = PackedPassages.of([data], DIMENSION, HIDDEN)
    assert not read.best_matches(unit(3), np.full(3, 9, np.int32), 0.5).any()


def test_a_vector_that_is_no_number_shows() -> None:
    vectors = unit(2)
    vectors[1, 3] = np.nan
    read = PackedPassages.of([packed(vectors)], DIMENSION, HIDDEN)
    assert not np.isfinite(read.best_matches(unit(1), np.zeros(1, np.int32), 0.0)).any()
