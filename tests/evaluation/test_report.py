from typing import Any

import pytest

from service.confidence.judge import Thresholds
from service.evaluation.comparison import measure
from service.evaluation.observations import sample
from service.evaluation.report import (
    Answer,
    Answers,
    ScoredHit,
    collection_report,
    confidence_report,
    scored_run,
)

QRELS = {"q1": {"a": 1}, "q2": {"b": 1}}


def answer(documents: str, probabilities: list[float | None]) -> Answer:
    hits = [ScoredHit(d, 0.9, p) for d, p in zip(documents, probabilities, strict=True)]
    return Answer(hits, "complete")


RERANKED = {"q1": answer("ab", [0.9, 0.2]), "q2": answer("ab", [0.6, 0.55])}
RETRIEVAL = {query: answer("ba", [None, None]) for query in QRELS}


def report_on(reranked: dict[str, Answer]) -> dict[str, Any]:
    answers: Answers = {"retrieval": RETRIEVAL, "reranked": reranked}
    values = measure({stage: scored_run(of) for stage, of in answers.items()}, QRELS)
    return collection_report(answers, values, QRELS, Thresholds())


def test_both_stages_stand_side_by_side_with_their_difference() -> None:
    report = report_on(RERANKED)
    assert report["queries"] == 2
    assert report["retrieval"]["accuracy@1"] == report["reranked"]["accuracy@1"] == 0.5
    difference = report["difference_ndcg@10"]
    assert difference["mean"] == pytest.approx(0.0)
    assert (difference["won"], difference["lost"]) == (1, 1)
    assert difference["low"] < 0 < difference["high"]
    assert report["rerank_status"] == {"complete": 2}


def test_confidence_is_measured_over_the_shown_hits() -> None:
    report = confidence_report(RERANKED, QRELS, Thresholds())
    assert report is not None
    assert report["hits"] == 4
    assert report["words"]["high"] == {
        **report["words"]["high"], "n": 1, "precision": 1.0,
    }  # fmt: skip
    assert (report["words"]["medium"]["n"], report["words"]["medium"]["precision"]) == (2, 0.5)
    assert report["brier"] == pytest.approx((0.1**2 + 0.2**2 + 0.6**2 + 0.45**2) / 4)


def test_uncalibrated_answers_have_no_confidence_report() -> None:
    assert confidence_report(RETRIEVAL, QRELS, Thresholds()) is None


def test_a_sample_depends_on_the_seed_alone() -> None:
    ids = [f"q{i}" for i in range(50)]
    assert sample(ids, 5, 0) == sample(reversed(ids), 5, 0)
    assert sample(ids, 5, 0) != sample(ids, 5, 1)
    assert sample(ids, None, 0) == sample(ids, 100, 0) == sorted(ids)
