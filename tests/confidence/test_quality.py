import numpy as np
import pytest

from service.confidence.quality import (
    expected_calibration_error,
    quality,
    reliability,
    tally,
    threshold_for,
)


def test_probabilities_that_hold_have_no_calibration_error() -> None:
    probabilities = [0.25] * 4 + [0.75] * 4
    labels = [1, 0, 0, 0, 1, 1, 1, 0]
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.0)


def test_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    # Three at 0.9 of which one holds, one at 0.1 that does not.
    error = expected_calibration_error([0.9, 0.9, 0.9, 0.1], [1, 0, 0, 0])
    assert error == pytest.approx((3 * abs(0.9 - 1 / 3) + 1 * 0.1) / 4)


def test_probability_one_falls_into_the_last_bin() -> None:
    assert expected_calibration_error([1.0, 1.0], [1, 1]) == 0.0


def test_quality_has_the_mean_squared_difference_of_probability_and_label() -> None:
    found = quality([0.8, 0.3], [1, 0], ["high", "low"])
    assert (found["hits"], found["brier"]) == (2, pytest.approx((0.04 + 0.09) / 2))
    assert quality([0.8], [0], ["high"])["brier"] == pytest.approx(0.64)


def test_nothing_to_measure_is_no_error() -> None:
    found = quality([], [], [])
    assert (found["hits"], found["ece"], found["brier"]) == (0, 0.0, 0.0)
    assert found["words"]["high"]["coverage"] == 0.0


def test_words_report_precision_with_its_interval() -> None:
    report = tally(["high", "high", "medium", "low"], [True, False, True, False])
    assert report["high"]["n"] == 2
    assert report["high"]["precision"] == 0.5
    assert report["medium"] == pytest.approx(
        {"n": 1, "coverage": 0.25, "precision": 1.0, "low": 0.2065, "high": 1.0}, abs=1e-4
    )
    assert report["low"]["precision"] == 0.0


def test_a_word_without_hits_has_no_precision() -> None:
    assert tally(["low"], [False])["high"] == {
        "n": 0,
        "coverage": 0.0,
        "precision": None,
        "low": None,
        "high": None,
    }


def test_wilson_interval_agrees_with_a_published_example() -> None:
    # 81 of 263: 0.2553 to 0.3662 (Newcombe, Statistics in Medicine 1998, method 3).
    report = tally(["high"] * 263, [True] * 81 + [False] * 182)["high"]
    assert np.round([report["low"], report["high"]], 4).tolist() == [0.2553, 0.3662]


def test_reliability_has_a_row_for_each_bin_with_pairs() -> None:
    rows = reliability([0.01, 0.02, 0.97, 0.99], [0, 0, 1, 0])
    assert [row["n"] for row in rows] == [2, 2]
    assert rows[1]["probability"] == pytest.approx(0.98)
    assert rows[1]["found"] == 0.5
    assert rows[1]["low"] < 0.5 < rows[1]["high"]


def test_a_threshold_is_the_smallest_that_keeps_the_precision() -> None:
    probabilities = [0.9, 0.8, 0.7, 0.6, 0.5]
    labels = [1, 1, 0, 1, 0]
    assert threshold_for(probabilities, labels, 0.75, fewest=1) == 0.6
    assert threshold_for(probabilities, labels, 0.6, fewest=1) == 0.5
    assert threshold_for(probabilities, labels, 1.0, fewest=1) == 0.8


def test_a_threshold_does_not_part_equal_probabilities() -> None:
    assert threshold_for([0.9, 0.5, 0.5], [1, 1, 0], 0.9, fewest=1) == 0.9


def test_a_handful_of_pairs_makes_no_threshold() -> None:
    assert threshold_for([0.9] * 19, [1] * 19, 0.9) == np.inf
    assert threshold_for([0.9] * 20, [1] * 20, 0.9) == 0.9
    assert threshold_for([], [], 0.9) == np.inf
