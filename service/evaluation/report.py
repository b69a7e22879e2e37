"""What an evaluation found, as a dictionary for JSON and as a Markdown table."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from service.confidence.quality import brier_score, expected_calibration_error, words
from service.confidence.words import Thresholds
from service.evaluation.metrics import Qrels, means, per_query
from service.evaluation.run import Answer, Runs, ranking

SHOWN_HITS = 10
"""Hits a query whose confidence is looked at: the answer's default length."""


def collection_report(runs: Runs, qrels: Qrels, thresholds: Thresholds) -> dict[str, Any]:
    """Both stages' measures side by side, and how far the confidence is to be trusted."""
    judged = {query: qrels[query] for query in runs.retrieval if query in qrels}
    retrieval = per_query(judged, ranking(runs.retrieval))
    reranked = per_query(judged, ranking(runs.reranked))
    times = sorted(answer.milliseconds for answer in runs.reranked.values())
    return {
        "queries": len(judged),
        "retrieval": means(retrieval),
        "reranked": means(reranked),
        "difference_ndcg@10": _paired(retrieval["ndcg@10"], reranked["ndcg@10"]),
        "rerank_status": dict(Counter(a.status for a in runs.reranked.values())),
        "confidence": confidence_report(runs.reranked, judged, thresholds),
        "median_ms": times[len(times) // 2] if times else None,
    }


def confidence_report(
    answers: Mapping[str, Answer], qrels: Qrels, thresholds: Thresholds
) -> dict[str, Any] | None:
    """ECE, Brier score and precision of each word over the first hits; None if uncalibrated."""
    pairs = [
        (hit.probability, qrels[query].get(hit.document, 0) > 0)
        for query, answer in answers.items()
        if query in qrels
        for hit in answer.hits[:SHOWN_HITS]
        if hit.probability is not None
    ]
    if not pairs:
        return None
    probabilities, labels = [p for p, _ in pairs], [y for _, y in pairs]
    return {
        "hits": len(pairs),
        "ece": expected_calibration_error(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "words": words(probabilities, labels, thresholds),
    }


def markdown(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a collection and stage."""
    head = ["collection", "queries", "stage", "nDCG@10", "MRR@10", "recall@100", "accuracy@1"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, report in reports.items():
        for stage in ("retrieval", "reranked"):
            values = [f"{value:.4f}" for value in report[stage].values()]
            lines.append(f"| {name} | {report['queries']} | {stage} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def _paired(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Mean difference, its 95 % interval (normal), and how many queries won and lost."""
    differences = [after[query] - before[query] for query in before]
    n = len(differences)
    mean = sum(differences) / n if n else 0.0
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1) if n > 1 else 0.0
    margin = 1.96 * (variance / n) ** 0.5 if n else 0.0
    return {
        "mean": mean,
        "low": mean - margin,
        "high": mean + margin,
        "won": sum(d > 0 for d in differences),
        "lost": sum(d < 0 for d in differences),
    }
