"""Ask a system every query of a collection; what it did, as a dictionary for JSON."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.confidence.judge import Thresholds
from service.confidence.quality import quality
from service.evaluation.measures import Qrels, means, per_query
from service.evaluation.significance import paired
from service.types import RerankStatus

SHOWN_HITS = 10
"""Hits a query whose confidence is looked at: the answer's default length."""


class ScoredHit(NamedTuple):
    """A hit as far as evaluation looks at it: its document, what ordered it, its probability."""

    document: str
    score: float
    probability: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: hits best first, and what became of the rerank.

    `reused` says that some of its logits came from the disk, so that its time means nothing.
    """

    hits: list[ScoredHit]
    status: RerankStatus
    milliseconds: float
    reused: bool = False


Ask = Callable[[str, bool], Answer]
"""(query text, rerank?) -> the answer."""


@dataclass(slots=True)
class Runs:
    """Both stages' answers by query id."""

    retrieval: dict[str, Answer] = field(default_factory=dict)
    reranked: dict[str, Answer] = field(default_factory=dict)


def ask_all(
    queries: Mapping[str, str], ask: Ask, on_progress: Callable[[int], None] = lambda _n: None
) -> Runs:
    """Ask each query twice: without the rerank and with it."""
    runs = Runs()
    for number, (query_id, text) in enumerate(queries.items(), start=1):
        runs.retrieval[query_id] = ask(text, False)
        runs.reranked[query_id] = ask(text, True)
        on_progress(number)
    return runs


def collection_report(
    runs: Runs, qrels: Qrels, thresholds: Thresholds, seed: int = 0
) -> dict[str, Any]:
    """Both stages' measures side by side, and how far the confidence is to be trusted.

    `median_ms` covers answers whose logits were all scored in this run; None if there is none.
    `seed` is the bootstrap's.
    """
    judged = {query: qrels[query] for query in runs.retrieval if query in qrels}
    retrieval = per_query(judged, _ranking(runs.retrieval))
    reranked = per_query(judged, _ranking(runs.reranked))
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


def _ranking(answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    return {query: [hit.document for hit in answer.hits] for query, answer in answers.items()}


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


def scored_run(answers: Mapping[str, Answer]) -> dict[str, list[tuple[str, float]]]:
    """Query id -> (document id, what ordered it), best first, as a run file has them."""
    return {query: [hit[:2] for hit in answer.hits] for query, answer in answers.items()}
