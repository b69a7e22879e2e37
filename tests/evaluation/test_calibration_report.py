from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.confidence.calibration import Calibration, WordThreshold
from service.evaluation.calibration_report import _word

THRESHOLD = WordThreshold(
    precision=0.9, probability=0.7, n=52, coverage=0.1, found=0.64, low=0.5, high=0.75
)


@pytest.mark.parametrize(("high", "told"), [(0.75, True), (0.93, False)])
def test_a_word_that_does_not_hold_as_often_as_was_asked_for_says_so(
    high: float, told: bool
) -> None:
    artifact = cast(Calibration, SimpleNamespace(thresholds={"high": THRESHOLD}))
    row: dict[str, Any] = {
        "precision": 0.64,
        "low": 0.5,
        "high": high,
        "n": 52,
        "coverage": 0.1,
        "queries": 0.5,
    }
    assert (", below the 0.9 that was asked for" in _word(artifact, "high", row)) == told
