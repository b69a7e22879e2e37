from dataclasses import replace

import pytest

from service.evaluation.candidates import Observed
from service.evaluation.fitting import FitOptions, Fitting, Labels, fit
from tests.fixtures.candidates import observed


@pytest.fixture(scope="module")
def english() -> Observed:
    return observed("en", "en", good_logits=True, queries=80)


@pytest.fixture(scope="module")
def mixed() -> Observed:
    return observed("across", "und", good_logits=True, queries=80, answer_at=3)


@pytest.fixture(scope="module")
def both(english: Observed, mixed: Observed) -> Fitting:
    return fit(Labels([english], across=[mixed]), FitOptions(share=1.0, high=0.9, medium=0.3))


def test_labels_across_languages_change_nothing_within_one(
    english: Observed, both: Fitting
) -> None:
    alone = fit(Labels([english]), FitOptions(share=1.0, high=0.9, medium=0.3))
    assert alone.mixed == {}
    assert both.shares["*"] == alone.shares["*"] == 1.0
    assert alone.words == both.words
    curves = {name: one.fit.curve for name, one in alone.curves.items()}
    assert curves == {name: one.fit.curve for name, one in both.curves.items()}
    parts = {name: part for name, part in both.figures.items() if name != "across"}
    assert parts == alone.figures


def test_searches_across_languages_get_a_share_and_curves_of_their_own(both: Fitting) -> None:
    assert [choice.language for choice in both.choices] == ["und"]
    assert both.choices[0].low > 0.0
    assert 0.0 < both.shares["und"] <= 1.0
    ordering = "rerank" if both.shares["und"] == 1.0 else "fused"
    assert set(both.mixed) == {"retrieval", ordering}
    assert both.mixed[ordering].fit.curve.brier < both.mixed["retrieval"].fit.curve.brier
    assert both.figures["across"]["all"]["hits"] == 1600
    assert both.figures["across"]["all"]["queries"] == 80


def test_of_labels_across_languages_those_within_one_have_no_say(
    english: Observed, both: Fitting
) -> None:
    other = observed("other", "ja", good_logits=False, queries=80)
    found = fit(Labels([english], across=[other]), FitOptions(share=1.0, high=0.9, medium=0.3))
    assert (found.shares, found.mixed, found.words) == ({"*": 1.0}, {}, both.words)


def test_a_reranker_that_does_harm_across_languages_has_no_share_there(english: Observed) -> None:
    bad = observed("across", "und", good_logits=False, queries=80)
    found = fit(Labels([english], across=[bad]), FitOptions(share=1.0))
    assert "und" not in found.shares
    assert set(found.mixed) == {"retrieval"}


def test_too_few_labels_across_languages_are_told_and_stay_uncalibrated(
    english: Observed, mixed: Observed
) -> None:
    few = replace(mixed, searches=dict(list(mixed.searches.items())[:30]))
    found = fit(Labels([english], across=[few]), FitOptions(share=1.0))
    assert found.mixed == {}
    (said,) = [s for s in found.warnings if "across languages" in s]
    assert "stay uncalibrated" in said
    assert "some 50 queries like these 30" in said
