"""What one system did on one collection, as a dictionary for JSON."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from service.confidence.quality import quality
from service.confidence.words import Thresholds
from service.evaluation.metrics import Qrels, means, per_query
from service.evaluation.run import Answer, Runs, ranking
from service.evaluation.significance import paired

SHOWN_HITS = 10
"""Hits a query whose confidence is looked at: the answer's default length."""


def collection_report(
    runs: Runs, qrels: Qrels, thresholds: Thresholds, seed: int = 0
) -> dict[str, Any]:
    """Both stages' measures side by side, and how far the confidence is to be trusted.

    `median_ms` is that of the answers whose logits were all scored anew; None where there is none.
    `seed` is the bootstrap's.
    """
    judged = {query: qrels[query] for query in runs.retrieval if query in qrels}
    retrieval = per_query(judged, ranking(runs.retrieval))
    reranked = per_query(judged, ranking(runs.reranked))
    times = sorted(a.milliseconds for a in runs.reranked.values() if not a.reused)
    return {
        "queries": len(judged),
        "retrieval": means(retrieval),
        "reranked": means(reranked),
        "difference_ndcg@10": paired(retrieval["ndcg@10"], reranked["ndcg@10"], seed),
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
    return quality(probabilities, labels, [thresholds.word(p) for p in probabilities])
