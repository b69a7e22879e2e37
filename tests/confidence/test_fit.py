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
    fit = fit_curve(scores, labels, queries, np.ones(len(scores)))
    curve = fit.curve
    for score in (0.82, 0.87, 0.92):
        expected = 1 / (1 + np.exp(-(SLOPE * score + INTERCEPT)))
        assert curve.probability([score])[0] == pytest.approx(expected, abs=0.02)
    assert curve.ece < 0.02
    assert (curve.n, curve.positive) == (20_000, int(labels.sum()))


def test_is_the_same_every_time() -> None:
    scores, labels, queries = labelled(2_000)
    weights = np.ones(len(scores))
    first = fit_curve(scores, labels, queries, weights)
    again = fit_curve(scores, labels, queries, weights)
    assert again.curve == first.curve
    assert np.array_equal(again.held_out, first.held_out)


def test_weights_count() -> None:
    scores, labels, queries = labelled(2_000)
    favour_positive = np.where(labels, 5.0, 1.0)
    plain = fit_curve(scores, labels, queries, np.ones(len(scores)))
    weighted = fit_curve(scores, labels, queries, favour_positive)
    assert weighted.curve.probability([0.86])[0] > plain.curve.probability([0.86])[0] + 0.1


def test_too_few_relevant_hits_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 50"):
        fit_curve([0.9] * 100, [1] * 49 + [0] * 51, [str(i) for i in range(100)], [1] * 100)


def test_scores_that_point_the_wrong_way_are_refused() -> None:
    scores, labels, queries = labelled(2_000)
    with pytest.raises(InvalidInputError, match="not likelier"):
        fit_curve(-scores, labels, queries, np.ones(len(scores)))


def stepped(n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels whose probability rises, stays, and rises again: no logistic curve has this shape."""
    random = np.random.default_rng(1)
    scores = random.uniform(0.0, 1.0, n)
    probability = np.select([scores < 0.2, scores < 0.8], [0.02, 0.5], 0.98)
    return scores, random.random(n) < probability, [f"q{i // 10}" for i in range(n)]


def test_isotonic_is_chosen_where_no_logistic_curve_fits_and_platt_where_one_does() -> None:
    scores, labels, queries = stepped(5_000)
    fit = fit_curve(scores, labels, queries, np.ones(len(scores)))
    assert fit.curve.method == "isotonic"
    assert fit.curve.probability([0.1, 0.5, 0.9]) == pytest.approx([0.02, 0.5, 0.98], abs=0.05)
    assert fit.losses["isotonic"] < fit.losses["platt"]
    scores, labels, queries = labelled(1_000)
    assert fit_curve(scores, labels, queries, np.ones(len(scores))).curve.method == "platt"


def test_an_isotonic_curve_rises_strictly_and_stays_between_0_and_1() -> None:
    scores, labels, queries = stepped(5_000)
    curve = fit_curve(scores, labels, queries, np.ones(len(scores))).curve
    found = np.array(curve.probability(np.linspace(-0.5, 1.5, 4_001).tolist()))
    assert (np.diff(found) > 0).all()
    assert 0.0 < found[0] < found[-1] < 1.0
    assert curve.probability([-1e9, 1e9]) == pytest.approx([0.0, 1.0])


def test_held_out_probabilities_have_not_seen_their_query() -> None:
    # One query's labels are all wrong; a curve that saw them is drawn towards them.
    scores, labels, queries = labelled(600)
    odd = np.array(queries) == "q7"
    weights = np.where(odd, 60.0, 1.0)
    honest = fit_curve(scores, labels, queries, np.ones(600))
    drawn = fit_curve(scores, np.where(odd, ~labels, labels), queries, weights)
    seen = np.array(drawn.curve.probability(scores[odd].tolist()))
    assert np.abs(seen - honest.held_out[odd]).max() > 0.2
    assert drawn.held_out[odd] == pytest.approx(honest.held_out[odd], abs=0.1)


def test_relevant_hits_of_a_few_queries_are_refused_with_the_reason() -> None:
    labels = [1] * 60 + [0] * 60
    queries = [f"q{i % 4}" for i in range(120)]
    with pytest.raises(InvalidInputError, match="belong to 4 queries; 5 are needed"):
        fit_curve(np.linspace(1, 0, 120), labels, queries, np.ones(120))


def test_labels_that_are_all_relevant_are_refused_with_the_reason() -> None:
    with pytest.raises(InvalidInputError, match="every hit is relevant"):
        fit_curve(np.linspace(1, 0, 60), [1] * 60, [str(i) for i in range(60)], np.ones(60))
