import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from service.confidence.calibration import Histogram, shipped_calibrations
from service.confidence.drift import FEWEST, WINDOW, WORD_BORDERS, Drift, counted, psi, tenths
from service.confidence.judge import Judge, Thresholds
from tests.confidence.test_judge import ARTIFACT, judge

LENGTHS = counted(range(1000), tenths(range(1000)))


def watched(**changes: object) -> Judge:
    words = counted([0, 0, 1, 2], WORD_BORDERS)
    reference = {"query_tokens": LENGTHS, "confidence": words}
    return judge(artifact=ARTIFACT.model_copy(update={"reference": reference}), **changes)


def observed(drift: Drift, values: list[int]) -> dict[str, float]:
    for value in values:
        drift.observe({"query_tokens": value, "confidence": value % 3, "logit": None})
    return dict(drift.indices())


def test_bins_hold_a_tenth_each_and_equal_values_share_one() -> None:
    assert LENGTHS.counts == (100,) * 10
    few = counted([5, 5, 5, 5, 9], tenths([5, 5, 5, 5, 9]))
    assert sum(few.counts) == 5
    assert len(few.counts) < 10
    assert [few.place(value) for value in (4, 5, 10)] == [0, 1, len(few.counts) - 1]


def test_the_index_is_that_of_the_textbook() -> None:
    assert psi([500, 500], [300, 300]) == pytest.approx(0.0, abs=1e-12)
    by_hand = (0.75 - 0.5) * math.log(0.75 / 0.5) + (0.25 - 0.5) * math.log(0.25 / 0.5)
    assert psi([50_000, 50_000], [75_000, 25_000]) == pytest.approx(by_hand, rel=1e-3)
    assert math.isfinite(psi([10, 0], [0, 10]))


def test_equal_searches_have_a_small_index_and_others_a_large_one() -> None:
    assert observed(Drift.of(watched()), list(range(0, 1000, 2)))["query_tokens"] < 0.02
    assert observed(Drift.of(watched()), [950 + n % 50 for n in range(500)])["query_tokens"] > 1


def test_few_searches_have_no_index_and_old_ones_are_forgotten() -> None:
    drift = Drift.of(watched())
    assert observed(drift, [999] * (FEWEST - 1)) == {}
    assert observed(drift, [999])["query_tokens"] > 1
    usual = [n * 7 % 1000 for n in range(WINDOW)]
    assert observed(drift, usual)["query_tokens"] < 0.02


@pytest.mark.parametrize(
    ("changes", "measures"),
    [
        ({}, {"query_tokens", "confidence"}),
        ({"thresholds": Thresholds(0.9, 0.5)}, {"query_tokens"}),
        ({"weight_override": 0.5}, set()),
        ({"reranker_weights_sha256": "c" * 64}, set()),
        ({"reranker_variant": "window 128"}, set()),
    ],
)
def test_only_what_the_calibration_holds_for_is_compared(
    changes: dict[str, object], measures: set[str]
) -> None:
    assert set(observed(Drift.of(watched(**changes)), [1] * FEWEST)) == measures


def test_without_a_calibration_or_its_reference_nothing_is_compared() -> None:
    for none in (judge(), replace(judge(), artifact=None)):
        assert observed(Drift.of(none), [1] * FEWEST) == {}


@pytest.mark.parametrize(
    ("borders", "counts"),
    [((1, 1), (1, 1, 1)), ((1,), (1,)), ((1,), (1, -1)), ((math.inf,), (1, 1))],
)
def test_a_histogram_that_is_none_is_refused(
    borders: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    with pytest.raises(ValidationError):
        Histogram(borders=borders, counts=counts)


def test_the_default_models_have_a_reference_of_all_their_queries() -> None:
    (artifact,) = (a for a in shipped_calibrations() if a.name == "e5-small+interaction-v1")
    assert {name: sum(found.counts) for name, found in artifact.reference.items()} == {
        "logit": 750,
        "confidence": 750,
        "query_tokens": 750,
    }
