import numpy as np
import pytest

from service.errors import InvalidInputError
from service.evaluation.calibrating import (
    by_part,
    collect_hits,
    fit_curves,
    held_out,
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
    fitted = fit_curves(collect_hits(data, {"en": 0.35}, 100))
    assert set(fitted) == {"retrieval", "fused"}
    # 160 queries, each with 10 hits and again with 10 hits that are no answer.
    by_cosine, by_both = fitted["retrieval"].fit.curve, fitted["fused"].fit.curve
    assert (by_cosine.n, by_cosine.positive) == (3200, 160)
    assert (by_both.n, by_both.positive) == (1600, 80)
    assert by_both.brier < by_cosine.brier


def test_a_reranker_alone_has_its_own_curve_over_logits(data: list[Observed]) -> None:
    rows = collect_hits(data, {"*": 1.0}, 100)
    assert set(rows) == {"retrieval", "rerank"}
    assert rows["rerank"]["score"].max() == 4.0
    good = fit_curves(collect_hits(data[:1], {"*": 1.0}, 100))["rerank"].fit.curve
    assert good.probability([4.0])[0] > 0.9
    assert good.probability([-2.0])[0] < 0.1


def test_relevant_documents_are_taken_out_before_the_scores_are_fused() -> None:
    data = [observed("en", "en", good_logits=True, queries=80)]
    rows = collect_hits(data, {"en": 0.35}, 100)["fused"]
    emptied = rows["score"][~rows["answered"]]
    without = rows["score"][rows["answered"] & ~rows["label"]]
    # Beside an answer whose logit towers, the others' z-scores are small; without it they spread.
    assert np.mean(emptied[::10]) > np.mean(without[::9])
    assert not rows["label"][~rows["answered"]].any()


def test_without_any_share_there_is_no_other_curve(data: list[Observed]) -> None:
    assert set(fit_curves(collect_hits(data, {}, 100))) == {"retrieval"}


def test_mixed_searches_are_rows_of_their_own() -> None:
    both = [observed("en", "und", good_logits=True), observed("xx", "ja", good_logits=False)]
    shares = {"*": 1.0, "und": 0.6}
    assert set(collect_hits(both, shares, 100)["rerank"]["collection"]) == {"xx"}
    assert "fused" not in collect_hits(both, shares, 100)
    mixed = collect_hits(both, shares, 100, mixed=True)
    assert set(mixed) == {"retrieval", "fused"}
    assert set(mixed["retrieval"]["collection"]) == set(mixed["fused"]["collection"]) == {"en"}
    assert len(mixed["fused"]) == 800
    assert set(collect_hits(both, {"*": 1.0}, 100, mixed=True)) == {"retrieval"}


def test_hits_below_the_depth_are_in_no_curve(data: list[Observed]) -> None:
    rows = collect_hits(data[:1], {"en": 0.35}, 4)["fused"]
    assert len(rows) == 80 * 2 * 4


def test_too_few_relevant_hits_say_how_many_queries_are_needed() -> None:
    few = [observed("en", "en", good_logits=True, queries=40)]
    with pytest.raises(InvalidInputError, match=r"'retrieval': 40 relevant.*some 50 queries like"):
        fit_curves(collect_hits(few, {}, 100))


def test_figures_tell_unchanged_answers_from_emptied_ones(data: list[Observed]) -> None:
    fitted = fit_curves(collect_hits(data, {"en": 1.0}, 100))
    held = held_out(fitted)
    given = np.where(held["probability"] >= 0.8, "high", "low")
    figures = by_part(held, given)
    assert figures["all"]["hits"] == 2 * figures["answered"]["hits"] == 3200
    assert set(figures["collections"]) == {"en", "xx"}
    english = figures["collections"]["en"]
    assert english["words"]["high"]["queries"] == 1.0
    assert english["words"]["high"]["coverage"] == pytest.approx(0.1)
    assert sum(row["n"] for row in english["reliability"]) == english["hits"] == 800
