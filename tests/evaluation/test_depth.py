import numpy as np
import pytest

from service.errors import InvalidInputError
from service.evaluation.candidates import Observed
from service.evaluation.depth import (
    choose_depth,
    depth_markdown,
    depth_report,
    measure_depths,
    time_depths,
)
from service.evaluation.plots import plot_depths
from service.types import EncodedPassage, EncodedQuery
from tests.fixtures.candidates import observed
from tests.fixtures.doubles import ScriptedReranker


def alone(_language: str) -> float:
    return 1.0


def test_quality_rises_where_the_answer_comes_within_the_depth() -> None:
    data = [observed("en", "en", good_logits=True, answer_at=9)]
    rows = measure_depths(data, alone, (0, 5, 10, 20))
    assert [row.depth for row in rows] == [0, 5, 10, 20]
    assert rows[0].ndcg == rows[1].ndcg < rows[2].ndcg == rows[3].ndcg == 1.0
    assert [row.pairs for row in rows] == [0.0, 5.0, 10.0, 20.0]
    assert rows[0].loss == pytest.approx(1.0 - rows[0].ndcg)
    assert choose_depth(rows, 0.005).depth == 10
    assert choose_depth(rows, 1.0).depth == 0


def test_a_depth_that_harms_is_not_chosen_for_being_deep() -> None:
    data = [observed("en", "en", good_logits=False, answer_at=9)]
    rows = measure_depths(data, alone, (0, 5, 10, 20))
    assert rows[0].ndcg > rows[3].ndcg
    assert rows[3].loss > 0.0
    assert choose_depth(rows, 0.0).depth == 0


def test_a_language_without_a_share_costs_nothing() -> None:
    data = [observed("en", "ja", good_logits=True, answer_at=9)]
    rows = measure_depths(data, lambda language: float(language == "en"), (0, 20))
    assert [(row.pairs, row.loss) for row in rows] == [(0.0, 0.0), (0.0, 0.0)]
    assert choose_depth(rows, 0.0).depth == 0


def test_collections_weigh_alike_in_mean_and_interval() -> None:
    data = [
        observed("big", "en", good_logits=True, queries=60, answer_at=9),
        observed("small", "en", good_logits=False, queries=10, answer_at=9),
    ]
    first, last = measure_depths(data, alone, (0, 20))
    assert last.ndcg == pytest.approx((last.collections["big"] + last.collections["small"]) / 2)
    assert first.low < first.loss < first.high


def test_labels_without_a_relevant_document_are_refused() -> None:
    none = Observed("none", {"q0": {"d1": 0}}, observed("a", "en", good_logits=True).searches)
    with pytest.raises(InvalidInputError, match="no query has a relevant document"):
        measure_depths([none], alone)


def test_each_depth_is_timed_with_the_slices_that_it_takes() -> None:
    now = 0.0

    def tick() -> None:
        nonlocal now
        now += 0.25

    reranker = ScriptedReranker(len, tick)
    query = EncodedQuery(("đạo hàm",), np.empty((0, 0), np.float32), 2)
    passages = [EncodedPassage(f"Bài toán số {i}") for i in range(25)]
    spent = time_depths(reranker, [(query, passages)] * 3, (0, 5, 10, 30), lambda: now)
    assert reranker.calls == [5, 5, 10, 5] * 3
    assert spent == {0: 0.0, 5: 250.0, 10: 500.0, 30: 1000.0}


def test_table_picture_and_report_show_the_chosen_depth() -> None:
    data = [observed("en", "en", good_logits=True, answer_at=9)]
    rows = measure_depths(data, alone, (0, 10, 20), {0: 0.0, 10: 40.0, 20: 80.0})
    chosen = choose_depth(rows, 0.005)
    table = depth_markdown(rows, chosen)
    assert "| **10** | 1.0000 |" in table
    assert "| 10.0 | 40 |" in table
    report = depth_report(rows, chosen, 0.005)
    assert report["rerank_depth"] == 10
    assert [row["ms"] for row in report["depths"]] == [0.0, 40.0, 80.0]
    quality, cost = plot_depths(rows, chosen).axes
    assert quality.get_ylabel() == "nDCG@10"
    assert list(cost.lines[0].get_ydata()) == [0.0, 40.0, 80.0]
