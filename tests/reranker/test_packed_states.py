"""Eight bits a number: what is lost, and what a match then is."""

import numpy as np
import pytest

from service.reranker.packed_states import PackedStates, best_matches

rng = np.random.default_rng(0)


def packed(tokens: int, dimension: int = 16) -> tuple[PackedStates, np.ndarray]:
    vectors = rng.normal(size=(tokens, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = rng.integers(0, 5, tokens).astype(np.int32)
    pooled = rng.normal(size=8).astype(np.float32)
    return PackedStates.pack(ids, vectors, pooled, tokens > 4), vectors


def test_what_is_written_is_read() -> None:
    for tokens in (1, 3, 200):
        states, _ = packed(tokens)
        again = PackedStates.from_bytes(states.to_bytes())
        for name in ("ids", "scales", "vectors", "pooled"):
            assert np.array_equal(getattr(again, name), getattr(states, name)), name
        assert again.truncated == states.truncated == (tokens > 4)
        assert len(states.to_bytes()) == states.size + 7


@pytest.mark.parametrize("data", [b"", b"abc", packed(3)[0].to_bytes()[:-1]])
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed states"):
        PackedStates.from_bytes(data)


def test_a_number_is_off_by_half_a_step_at_most() -> None:
    states, vectors = packed(50)
    read = states.vectors * states.scales.astype(np.float32)[:, None]
    step = np.abs(vectors).max(axis=1, keepdims=True) / 127
    # The scale itself is rounded to eleven bits.
    assert (np.abs(read - vectors) <= 0.5 * step + np.abs(vectors) / 2000).all()


def test_the_best_match_is_the_greatest_product_plus_what_equal_pieces_get() -> None:
    query, query_ids = rng.normal(size=(4, 16)).astype(np.float32), np.array([0, 1, 2, 9], np.int32)
    passages = [packed(tokens)[0] for tokens in (3, 1, 7)]
    found = best_matches(query, query_ids, 0.25, passages)
    assert found.shape == (3, 4)
    for row, passage in zip(found, passages, strict=True):
        vectors = passage.vectors * passage.scales.astype(np.float32)[:, None]
        for token, best in enumerate(row):
            products = vectors @ query[token] + 0.25 * (passage.ids == query_ids[token])
            assert best == pytest.approx(products.max(), abs=1e-5)
