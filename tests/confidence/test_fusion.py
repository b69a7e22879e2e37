import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.confidence.fusion import fuse

COSINES = [0.91, 0.88, 0.86, 0.80]
LOGITS = [-2.0, 3.5, 0.1, -4.0]
finite = st.floats(-10, 10)


def z(values: list[float]) -> np.ndarray:
    return (np.asarray(values) - np.mean(values)) / np.std(values)


@pytest.mark.parametrize("weight", [0.05, 0.35, 0.6, 0.95])
def test_order_is_that_of_the_weighted_z_scores(weight: float) -> None:
    expected = np.argsort(-(weight * z(LOGITS) + (1 - weight) * z(COSINES)))
    assert np.argsort(-fuse(COSINES, LOGITS, weight)).tolist() == expected.tolist()


def test_weight_zero_is_the_cosine_and_one_the_logit() -> None:
    assert fuse(COSINES, LOGITS, 0.0).tolist() == COSINES
    assert fuse(COSINES, LOGITS, 1.0).tolist() == LOGITS


def test_the_mean_stays_that_of_the_cosines() -> None:
    assert fuse(COSINES, LOGITS, 0.35).mean() == pytest.approx(np.mean(COSINES))


def test_one_candidate_alone_keeps_its_cosine() -> None:
    assert fuse([0.7], [9.0], 0.35).tolist() == [0.7]


def test_equal_logits_change_nothing() -> None:
    assert fuse(COSINES, [1.0] * 4, 0.35).tolist() == COSINES


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20), st.floats(0, 1))
def test_all_scores_are_finite(pairs: list[tuple[float, float]], weight: float) -> None:
    cosines, logits = zip(*pairs, strict=True)
    assert np.isfinite(fuse(cosines, logits, weight)).all()
