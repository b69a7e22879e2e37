import numpy as np
import pytest

from service.confidence.fit import fit_curve
from service.errors import InvalidInputError

SLOPE, INTERCEPT = 60.0, -52.0


def labelled(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Cosines whose labels are drawn with the probability that a known curve gives."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.78, 0.95, n)
    probability = 1 / (1 + np.exp(-(SLOPE * scores + INTERCEPT)))
    return scores, random.random(n) < probability, [f"q{i // 10}" for i in range(n)]


def test_finds_the_curve_that_made_the_labels() -> None:
    scores, labels, queries = labelled(20_000)
    curve = fit_curve(scores, labels, queries, np.ones(len(scores)))
    for score in (0.82, 0.87, 0.92):
        expected = 1 / (1 + np.exp(-(SLOPE * score + INTERCEPT)))
        assert curve.probability([score])[0] == pytest.approx(expected, abs=0.02)
    assert curve.ece < 0.02
    assert (curve.n, curve.positive) == (20_000, int(labels.sum()))


def test_is_the_same_every_time() -> None:
    scores, labels, queries = labelled(2_000)
    weights = np.ones(len(scores))
    first = fit_curve(scores, labels, queries, weights)
    assert fit_curve(scores, labels, queries, weights) == first


def test_weights_count() -> None:
    scores, labels, queries = labelled(2_000)
    favour_positive = np.where(labels, 5.0, 1.0)
    plain = fit_curve(scores, labels, queries, np.ones(len(scores)))
    weighted = fit_curve(scores, labels, queries, favour_positive)
    assert weighted.probability([0.86])[0] > plain.probability([0.86])[0] + 0.1


def test_too_few_relevant_hits_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 50"):
        fit_curve([0.9] * 100, [1] * 49 + [0] * 51, [str(i) for i in range(100)], [1] * 100)


def test_scores_that_point_the_wrong_way_are_refused() -> None:
    scores, labels, queries = labelled(2_000)
    with pytest.raises(InvalidInputError, match="not likelier"):
        fit_curve(-scores, labels, queries, np.ones(len(scores)))
