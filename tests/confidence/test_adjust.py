"""A curve that few labels move, as far as they can."""

import numpy as np
import pytest
from scipy.special import expit

from service.confidence.adjust import adjust_curve
from service.confidence.calibration import Curve
from service.errors import InvalidInputError

PLATT = Curve(slope=1.0, intercept=0.0, n=100, positive=50, ece=0.0, brier=0.1)
KNOTS = tuple((float(x), float(expit(x))) for x in np.linspace(-3, 3, 13))
ISOTONIC = PLATT.model_copy(update={"method": "isotonic", "knots": KNOTS})


def drawn(shift: float, scale: float, queries: int, hits: int = 10):
    random = np.random.default_rng(1)
    scores = random.normal(0, 2, queries * hits)
    labels = random.random(len(scores)) < expit(shift + scale * scores)
    return scores, labels.astype(int), [f"q{i // hits}" for i in range(len(scores))]


@pytest.mark.parametrize("base", [PLATT, ISOTONIC], ids=["platt", "isotonic"])
def test_many_labels_find_the_shift_and_the_scale(base: Curve) -> None:
    found = adjust_curve(base, *drawn(1.2, 0.6, queries=400))
    assert found.adjustment.shift == pytest.approx(1.2, abs=0.2)
    assert found.adjustment.scale == pytest.approx(0.6, abs=0.1)
    assert found.curve.probability([1.0])[0] == pytest.approx(expit(1.8), abs=0.05)
    assert found.losses[1] < found.losses[0]
    assert found.curve.method == base.method


def test_ten_labels_move_it_part_of_the_way_and_say_how_uncertain_that_is() -> None:
    # All hits had an even chance by the old curve; nine of ten are relevant.
    found = adjust_curve(PLATT, [0.0] * 10, [1] * 9 + [0], ["q"] * 10)
    now, low, high = found.now(0.5)
    assert 0.6 < now < 0.85  # the labels alone would say 0.9
    assert low < 0.5 < now < high
    many = adjust_curve(
        PLATT, [0.0] * 200, ([1] * 9 + [0]) * 20, [f"q{i}" for i in range(200)]
    ).now(0.5)
    assert many[0] == pytest.approx(0.9, abs=0.02)
    assert many[2] - many[1] < (high - low) / 3


def test_hits_of_one_query_count_for_less_than_those_of_many() -> None:
    labels = [1] * 9 + [0]
    one = adjust_curve(PLATT, [0.0] * 10, labels, ["q"] * 10).adjustment
    many = adjust_curve(PLATT, [0.0] * 10, labels, [f"q{i}" for i in range(10)]).adjustment
    assert one.shift < many.shift
    assert one.shift_high - one.shift_low > many.shift_high - many.shift_low
    assert (one.queries, many.queries) == (1, 10)


@pytest.mark.parametrize("base", [PLATT, ISOTONIC], ids=["platt", "isotonic"])
def test_the_curve_still_rises_whatever_the_labels_say(base: Curve) -> None:
    scores, labels, queries = drawn(0.0, 1.0, queries=30)
    upside_down = adjust_curve(base, scores, 1 - labels, queries).curve
    line = upside_down.probability(np.linspace(-8, 8, 400).tolist())
    assert (np.diff(line) > 0).all()


def test_too_few_labels_are_refused_in_words() -> None:
    with pytest.raises(InvalidInputError, match=r"9 judged hits are too few.* 10"):
        adjust_curve(PLATT, [0.0] * 9, [1] * 9, ["q"] * 9)
    with pytest.raises(InvalidInputError, match="no judged hit is not relevant"):
        adjust_curve(PLATT, [0.0] * 10, [1] * 10, ["q"] * 10)
    with pytest.raises(InvalidInputError, match="no judged hit is relevant"):
        adjust_curve(PLATT, [0.0] * 10, [0] * 10, ["q"] * 10)
