"""Report on a system's answers to the queries of a collection, as a dictionary for JSON."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.confidence.judge import Thresholds
from service.confidence.quality import quality
from service.evaluation.measures import Qrels, means
from service.evaluation.significance import paired
from service.types import RerankStatus

SHOWN_HITS = 10
"""Hits of a query whose confidence is measured: the answer's default length."""


class ScoredHit(NamedTuple):
    """What evaluation reads of a hit: its document, the score that orders it, its probability."""

    document: str
    score: float
    probability: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: hits, best first, and the status of the rerank."""

    hits: list[ScoredHit]
    status: RerankStatus


Answers = dict[str, dict[str, Answer]]
"""The answers of both stages, `retrieval` and `reranked`, by query id."""


def collection_report(
    answers: Answers,
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    qrels: Qrels,
    thresholds: Thresholds,
    seed: int = 0,
) -> dict[str, Any]:
    """Both stages' measures side by side, and how far the confidence can be trusted.

    `values`: stage -> measure -> query -> value. `seed` is the bootstrap's.
    """
    reranked = answers["reranked"]
    before, after = (values[stage]["ndcg@10"] for stage in answers)
    return {
        "queries": sum(query in qrels for query in reranked),
        **{stage: means(values[stage]) for stage in answers},
        "difference_ndcg@10": paired(before, after, seed),
        "rerank_status": dict(Counter(a.status for a in reranked.values())),
        "confidence": confidence_report(reranked, qrels, thresholds),
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


def scored_run(answers: Mapping[str, Answer]) -> dict[str, list[tuple[str, float]]]:
    return {query: [hit[:2] for hit in answer.hits] for query, answer in answers.items()}
