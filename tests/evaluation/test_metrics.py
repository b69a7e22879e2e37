import math

import pytest

from service.evaluation.measures import means, per_query

QRELS = {"q1": {"a": 1, "b": 1}, "q2": {"c": 1}, "q3": {"x": 0}, "q4": {"d": 2, "e": 1}}


def test_values_are_those_worked_out_by_hand() -> None:
    values = per_query(QRELS, {"q1": ["z", "a", "b"], "q2": ["c"], "q4": ["e", "d"]})
    ideal = 1 + 1 / math.log2(3)
    assert values["ndcg@10"]["q1"] == pytest.approx((1 / math.log2(3) + 1 / 2) / ideal)
    assert values["mrr@10"] == {"q1": 0.5, "q2": 1.0, "q4": 1.0}
    assert values["accuracy@1"] == {"q1": 0.0, "q2": 1.0, "q4": 1.0}
    graded = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert values["ndcg@10"]["q4"] == pytest.approx(graded)


def test_a_query_without_an_answer_counts_zero_and_one_without_labels_not_at_all() -> None:
    values = per_query(QRELS, {"q1": [], "q2": ["c"]})
    assert set(values["ndcg@10"]) == {"q1", "q2", "q4"}
    assert values["recall@100"] == {"q1": 0.0, "q2": 1.0, "q4": 0.0}
    assert means(values)["accuracy@1"] == pytest.approx(1 / 3)


def test_the_runs_order_is_kept_however_ids_sort() -> None:
    forwards = per_query({"q": {"b": 1}}, {"q": ["a", "b", "c"]})
    backwards = per_query({"q": {"b": 1}}, {"q": ["z", "b", "y"]})
    assert forwards["mrr@10"]["q"] == backwards["mrr@10"]["q"] == 0.5


def test_what_is_found_below_rank_100_is_not_recalled() -> None:
    run = {"q": [f"n{i}" for i in range(100)] + ["a"]}
    assert per_query({"q": {"a": 1}}, run)["recall@100"]["q"] == 0.0


def test_the_whole_set_is_that_worked_out_by_hand() -> None:
    values = per_query(QRELS, {"q1": ["z", "a", "y", "x", "b"]})
    first = {name: of["q1"] for name, of in values.items()}
    assert [first[f"accuracy@{k}"] for k in (1, 3, 5, 10)] == [0, 1, 1, 1]
    assert [first[f"precision@{k}"] for k in (1, 3, 5, 10)] == pytest.approx([0, 1 / 3, 0.4, 0.2])
    assert [first[f"recall@{k}"] for k in (1, 3, 5, 10)] == [0, 0.5, 1, 1]
    assert first["map@100"] == pytest.approx((1 / 2 + 2 / 5) / 2)
    gained = 1 / math.log2(3) + 1 / math.log2(6)
    assert first["ndcg@5"] == pytest.approx(gained / (1 + 1 / math.log2(3)))
    assert (first["hit@20"], first["hit@100"]) == (1, 1)


def test_only_the_measures_that_are_asked_for_are_worked_out() -> None:
    assert list(per_query(QRELS, {}, ["map@100"])) == ["map@100"]
