import numpy as np
import pytest

from service.evaluation.calibration import (
    Labelled,
    WeightTrial,
    choose_weights,
    fit_curves,
    try_weights,
)
from service.evaluation.run import Answer, ScoredHit


def collection(name: str, language: str, good_logits: bool, queries: int = 40) -> Labelled:
    """Each query: 20 candidates, the cosine puts the answer second, the logit first or last."""
    random = np.random.default_rng(len(name))
    qrels, answers = {}, {}
    for q in range(queries):
        cosines = np.sort(random.uniform(0.80, 0.90, 20))[::-1]
        cosines[0] += 0.005
        logits = random.normal(-2, 0.5, 20)
        logits[1] = 4.0 if good_logits else -9.0
        qrels[f"q{q}"] = {"d1": 1}
        hits = [ScoredHit(f"d{i}", cosines[i], logits[i], None) for i in range(20)]
        answers[f"q{q}"] = Answer(hits, "complete", language, 1.0)
    return Labelled(name, qrels, answers, answers)


def test_a_reranker_that_helps_is_given_a_share_and_one_that_harms_none() -> None:
    trials = try_weights([collection("en", "en", True), collection("ja", "ja", False)])
    weights = choose_weights(trials)
    assert set(weights) == {"en"}
    assert weights["en"] > 0.0


def test_harm_in_one_collection_forbids_what_another_gains_by() -> None:
    ndcg = {0.0: 0.5, 0.2: 0.55, 0.4: 0.60}
    harmed = {0.0: 0.9, 0.2: 0.9, 0.4: 0.89}
    full = dict.fromkeys((round(0.05 * i, 2) for i in range(17)), 0.0)
    trials = [
        WeightTrial("a", "en", 50, {**full, **ndcg}),
        WeightTrial("b", "en", 50, {**full, **harmed}),
    ]
    assert choose_weights(trials) == {"en": 0.2}


def test_the_smaller_share_wins_where_two_are_equal() -> None:
    full = {round(0.05 * i, 2): (0.6 if i else 0.5) for i in range(17)}
    assert choose_weights([WeightTrial("a", "en", 50, full)]) == {"en": 0.05}


def test_mixed_languages_have_no_share() -> None:
    full = {round(0.05 * i, 2): 0.5 + 0.01 * i for i in range(17)}
    assert choose_weights([WeightTrial("a", "und", 50, full)]) == {}


def test_a_few_queries_have_no_say() -> None:
    assert try_weights([collection("en", "en", True, queries=19)]) == []


def test_curves_are_fitted_for_what_orders_the_hits() -> None:
    data = [collection("en", "en", True, 80), collection("xx", "ja", False, 80)]
    curves = fit_curves(data, {"en": 0.35})
    assert set(curves) == {"retrieval", "fused"}
    # 160 queries, each with 10 hits and again with 10 hits that are no answer.
    assert (curves["retrieval"].n, curves["retrieval"].positive) == (3200, 160)
    assert (curves["fused"].n, curves["fused"].positive) == (1600, 80)
    assert curves["fused"].brier < curves["retrieval"].brier


def test_without_any_share_there_is_no_fused_curve() -> None:
    assert set(fit_curves([collection("xx", "ja", False, 80)], {})) == {"retrieval"}


def test_probability_of_the_unanswerable_is_learnt() -> None:
    curves = fit_curves([collection("en", "en", True, 80)], {"en": 0.35})
    assert curves["retrieval"].probability([0.80])[0] < 0.1


@pytest.mark.parametrize("weight", [0.2, 0.6])
def test_partial_answers_are_left_out(weight: float) -> None:
    whole = collection("en", "en", True, 80)
    partial = {q: Answer(a.hits, "partial", "en", 1.0) for q, a in whole.reranked.items()}
    data = Labelled("en", whole.qrels, whole.retrieval, partial)
    assert try_weights([data]) == []
    assert set(fit_curves([data], {"en": weight})) == {"retrieval"}
