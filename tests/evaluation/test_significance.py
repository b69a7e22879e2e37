import numpy as np
import pytest
from scipy import stats

from service.evaluation.significance import RESAMPLES, bootstrap_interval, paired

RANDOM = np.random.default_rng(7)
BEFORE = {f"q{i}": float(v) for i, v in enumerate(RANDOM.uniform(0, 1, 60))}
AFTER = {q: float(np.clip(v + d, 0, 1)) for (q, v), d in zip(
    BEFORE.items(), RANDOM.normal(0.03, 0.1, 60), strict=True)}  # fmt: skip


def test_the_test_is_scipys_paired_t_test() -> None:
    found = paired(BEFORE, AFTER)
    expected = stats.ttest_rel([AFTER[q] for q in BEFORE], [BEFORE[q] for q in BEFORE])
    assert (found["t"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    interval = expected.confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert found["mean"] == pytest.approx(np.mean([AFTER[q] - BEFORE[q] for q in BEFORE]))
    assert found["won"] + found["lost"] + found["tied"] == found["queries"] == 60


def test_the_queries_are_matched_by_id_and_not_by_place() -> None:
    shuffled = dict(sorted(AFTER.items(), key=lambda row: row[1]))
    assert paired(BEFORE, shuffled) == paired(BEFORE, AFTER)


def test_the_other_way_round_is_the_same_with_the_sign_changed() -> None:
    there, back = paired(BEFORE, AFTER), paired(AFTER, BEFORE)
    assert back["mean"] == pytest.approx(-there["mean"])
    assert (back["p"], back["won"]) == (pytest.approx(there["p"]), there["lost"])


def test_the_bootstrap_is_scipys_and_depends_on_the_seed_alone() -> None:
    values = list(AFTER.values())
    drawn = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert bootstrap_interval(values, 3) == pytest.approx((drawn.low, drawn.high))
    assert bootstrap_interval(values, 3) == bootstrap_interval(values, 3)
    assert bootstrap_interval(values, 3) != bootstrap_interval(values, 4)


def test_the_interval_of_several_collections_is_that_of_the_mean_of_their_means() -> None:
    few, many = [0.0, 1.0] * 5, [0.4, 0.6] * 500
    low, high = bootstrap_interval(few, 0, many)
    # The first collection's spread, halved as it is one of two, is nearly all that there is.
    alone_low, alone_high = bootstrap_interval(few, 0)
    assert high - low == pytest.approx((alone_high - alone_low) / 2, rel=0.1)
    assert low < 0.5 < high


def test_nothing_changed_is_no_evidence_and_the_same_change_everywhere_is_certain() -> None:
    same = paired(BEFORE, BEFORE)
    assert (same["mean"], same["p"], same["low"], same["bootstrap_high"]) == (0.0, 1.0, 0.0, 0.0)
    better = paired({"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.5})
    assert (better["mean"], better["p"], better["low"]) == (0.5, 0.0, 0.5)


def test_no_query_is_no_difference() -> None:
    assert paired({}, {})["queries"] == 0
    assert bootstrap_interval([]) == (0.0, 0.0)
