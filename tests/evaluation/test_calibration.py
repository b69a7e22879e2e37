import numpy as np
import pytest

from service.confidence.calibration import thresholds
from service.errors import InvalidInputError
from service.evaluation.calibration import (
    Held,
    by_part,
    collect_rows,
    enough_hits,
    fit_curves,
    fit_thresholds,
    held_out,
    shortages,
)
from service.evaluation.candidates import Observed
from tests.fixtures.candidates import observed


@pytest.fixture(scope="module")
def data() -> list[Observed]:
    return [
        observed("en", "en", good_logits=True, queries=80),
        observed("xx", "ja", good_logits=False, queries=80),
    ]


def test_curves_are_fitted_for_what_orders_the_hits(data: list[Observed]) -> None:
    fitted = fit_curves(collect_rows(data, {"en": 0.35}, 100))
    assert set(fitted) == {"retrieval", "fused"}
    # 160 queries, each with 10 hits and again with 10 hits that are no answer.
    by_cosine, by_both = fitted["retrieval"].fit.curve, fitted["fused"].fit.curve
    assert (by_cosine.n, by_cosine.positive) == (3200, 160)
    assert (by_both.n, by_both.positive) == (1600, 80)
    assert by_both.brier < by_cosine.brier


def test_a_reranker_alone_has_its_own_curve_over_logits(data: list[Observed]) -> None:
    rows = collect_rows(data, {"*": 1.0}, 100)
    assert set(rows) == {"retrieval", "rerank"}
    assert max(rows["rerank"].scores) == 4.0
    good = fit_curves(collect_rows(data[:1], {"*": 1.0}, 100))["rerank"].fit.curve
    assert good.probability([4.0])[0] > 0.9
    assert good.probability([-2.0])[0] < 0.1


def test_relevant_documents_are_taken_out_before_the_scores_are_fused() -> None:
    data = [observed("en", "en", good_logits=True, queries=80)]
    rows = collect_rows(data, {"en": 0.35}, 100)["fused"]
    emptied = [s for s, answered in zip(rows.scores, rows.answered, strict=True) if not answered]
    without = [
        s
        for s, answered, label in zip(rows.scores, rows.answered, rows.labels, strict=True)
        if answered and not label
    ]
    # Beside an answer whose logit towers, the others' z-scores are small; without it they spread.
    assert np.mean(emptied[::10]) > np.mean(without[::9])
    assert not any(
        label for label, answered in zip(rows.labels, rows.answered, strict=True) if not answered
    )


def test_without_any_share_there_is_no_other_curve(data: list[Observed]) -> None:
    assert set(fit_curves(collect_rows(data, {}, 100))) == {"retrieval"}


def test_mixed_searches_are_left_out_unless_they_have_a_share() -> None:
    mixed = [observed("en", "und", good_logits=True)]
    assert collect_rows(mixed, {"*": 1.0}, 100)["retrieval"].scores == []
    assert "rerank" not in collect_rows(mixed, {"*": 1.0}, 100)
    assert len(collect_rows(mixed, {"*": 1.0, "und": 1.0}, 100)["rerank"].scores) == 800


def test_hits_below_the_depth_are_in_no_curve(data: list[Observed]) -> None:
    rows = collect_rows(data[:1], {"en": 0.35}, 4)["fused"]
    assert len(rows.scores) == 80 * 2 * 4


def test_too_few_relevant_hits_say_how_many_queries_are_needed() -> None:
    few = [observed("en", "en", good_logits=True, queries=40)]
    with pytest.raises(InvalidInputError, match=r"'retrieval': 40 relevant.*some 50 queries like"):
        fit_curves(collect_rows(few, {}, 100))


def test_words_keep_their_stated_precision_on_held_out_labels(data: list[Observed]) -> None:
    fitted = fit_curves(collect_rows(data, {"en": 1.0}, 100))
    held = held_out(fitted)
    assert len(held.labels) == 3200  # each hit once, in the ordering that serves it
    words = fit_thresholds(held, 0.9, 0.3)
    high = words["high"]
    assert high.found >= 0.9
    given = held.probabilities >= high.probability
    assert (high.n, high.found) == (given.sum(), held.labels[given].mean())
    assert high.low < high.found <= high.high


def test_sure_hits_do_not_carry_unlikely_ones_into_their_word() -> None:
    p = np.array([0.99] * 90 + [0.4] * 40 + [0.1] * 10)
    y = np.array([True] * 130 + [False] * 10)
    names = np.array(["q"] * 140)
    words = fit_thresholds(Held(p, y, names, names, y), 0.9, 0.5)
    assert (words["high"].probability, words["high"].n) == (0.99, 90)
    assert (words["medium"].probability, words["medium"].n) == (0.4, 40)


def test_a_precision_that_no_probability_reaches_gives_no_word() -> None:
    data = [observed("xx", "ja", good_logits=False, queries=80)]
    fitted = fit_curves(collect_rows(data, {}, 100))
    words = fit_thresholds(held_out(fitted), 0.99, 0.01)
    assert words["high"].probability is None
    assert (words["high"].n, words["high"].found) == (0, None)
    assert words["medium"].probability is not None
    said = shortages(fitted, words, 80)
    assert any("'high' with a precision of 0.99" in s and "never used" in s for s in said)
    assert any("rests on 80 relevant hits; 200 are enough, some 200 queries" in s for s in said)


def test_figures_tell_unchanged_answers_from_emptied_ones(data: list[Observed]) -> None:
    fitted = fit_curves(collect_rows(data, {"en": 1.0}, 100))
    held = held_out(fitted)
    words = fit_thresholds(held, 0.8, 0.5)
    artifact_less = thresholds(None)
    figures = by_part(held, artifact_less)
    assert words["high"].n <= figures["all"]["words"]["high"]["n"] + len(held.labels)
    assert figures["all"]["hits"] == 2 * figures["answered"]["hits"] == 3200
    assert set(figures["collections"]) == {"en", "xx"}
    english = figures["collections"]["en"]
    assert english["words"]["high"]["queries"] == 1.0
    assert english["words"]["high"]["coverage"] == pytest.approx(0.1)
    assert sum(row["n"] for row in english["reliability"]) == english["hits"] == 800


def test_enough_hits_make_the_interval_as_narrow_as_stated() -> None:
    assert enough_hits(0.5) == 385
    assert enough_hits(0.9) == 139
    assert enough_hits(1.0) == 73
