from dataclasses import replace

import pytest

from service.confidence.judge import Thresholds
from service.evaluation.labelled import sample
from service.evaluation.report import (
    Answer,
    Runs,
    ScoredHit,
    ask_all,
    collection_report,
    confidence_report,
)

QRELS = {"q1": {"a": 1}, "q2": {"b": 1}}


def answer(documents: str, probabilities: list[float | None]) -> Answer:
    hits = [ScoredHit(d, 0.9, p) for d, p in zip(documents, probabilities, strict=True)]
    return Answer(hits, "complete", 12.5)


RUNS = Runs(
    retrieval={"q1": answer("ba", [None, None]), "q2": answer("ba", [None, None])},
    reranked={"q1": answer("ab", [0.9, 0.2]), "q2": answer("ab", [0.6, 0.55])},
)


def test_both_stages_stand_side_by_side_with_their_difference() -> None:
    report = collection_report(RUNS, QRELS, Thresholds())
    assert report["queries"] == 2
    assert report["retrieval"]["accuracy@1"] == report["reranked"]["accuracy@1"] == 0.5
    difference = report["difference_ndcg@10"]
    assert difference["mean"] == pytest.approx(0.0)
    assert (difference["won"], difference["lost"]) == (1, 1)
    assert difference["low"] < 0 < difference["high"]
    assert report["rerank_status"] == {"complete": 2}
    assert report["median_ms"] == 12.5


def test_confidence_is_measured_over_the_shown_hits() -> None:
    report = confidence_report(RUNS.reranked, QRELS, Thresholds())
    assert report is not None
    assert report["hits"] == 4
    assert report["words"]["high"] == {
        **report["words"]["high"], "n": 1, "precision": 1.0,
    }  # fmt: skip
    assert (report["words"]["medium"]["n"], report["words"]["medium"]["precision"]) == (2, 0.5)
    assert report["brier"] == pytest.approx((0.1**2 + 0.2**2 + 0.6**2 + 0.45**2) / 4)


def test_uncalibrated_answers_have_no_confidence_report() -> None:
    assert confidence_report(RUNS.retrieval, QRELS, Thresholds()) is None


def test_answers_with_logits_from_the_disk_have_no_say_in_the_time() -> None:
    reused = {q: replace(a, milliseconds=0.1, reused=True) for q, a in RUNS.reranked.items()}
    runs = Runs(RUNS.retrieval, {**reused, "q1": RUNS.reranked["q1"]})
    assert collection_report(runs, QRELS, Thresholds())["median_ms"] == 12.5
    none = collection_report(Runs(RUNS.retrieval, reused), QRELS, Thresholds())
    assert none["median_ms"] is None


def test_every_query_is_asked_in_both_ways() -> None:
    asked: list[tuple[str, bool]] = []

    def ask(text: str, rerank: bool) -> Answer:
        asked.append((text, rerank))
        return answer("", [])

    progress: list[int] = []
    runs = ask_all({"q1": "one", "q2": "two"}, ask, progress.append)
    assert asked == [("one", False), ("one", True), ("two", False), ("two", True)]
    assert set(runs.retrieval) == set(runs.reranked) == {"q1", "q2"}
    assert progress == [1, 2]


def test_a_sample_depends_on_the_seed_alone() -> None:
    ids = [f"q{i}" for i in range(50)]
    assert sample(ids, 5, 0) == sample(reversed(ids), 5, 0)
    assert sample(ids, 5, 0) != sample(ids, 5, 1)
    assert sample(ids, None, 0) == sample(ids, 100, 0) == sorted(ids)
