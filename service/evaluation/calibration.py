"""Make a calibration artifact out of answers to labelled queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.confidence.calibration import Curve, Ordering
from service.confidence.fit import fit_curve
from service.confidence.fusion import fuse
from service.evaluation.metrics import Qrels, means, per_query
from service.evaluation.report import SHOWN_HITS
from service.evaluation.run import Answer, ScoredHit

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(17))
"""Shares of the reranker that are tried: 0, 0.05 ... 0.8."""

FEWEST_QUERIES = 20
"""Queries of a language, in one collection, below which they have no say in its weight."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A collection's labels with both stages' answers; each may cover a sample of the queries."""

    name: str
    qrels: Qrels
    retrieval: Mapping[str, Answer]
    reranked: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class WeightTrial:
    """nDCG@10 of each weight on one collection's queries in one language."""

    collection: str
    language: str
    queries: int
    ndcg: Mapping[float, float]


def try_weights(collections: Sequence[Labelled]) -> list[WeightTrial]:
    """Order the reranked answers anew with each weight."""
    trials = []
    for collection in collections:
        by_language: dict[str, dict[str, Answer]] = {}
        for query, answer in collection.reranked.items():
            if answer.status == "complete":
                by_language.setdefault(answer.language, {})[query] = answer
        for language, answers in sorted(by_language.items()):
            if len(answers) >= FEWEST_QUERIES:
                ndcg = {w: _ndcg(answers, collection.qrels, w) for w in WEIGHTS}
                trials.append(WeightTrial(collection.name, language, len(answers), ndcg))
    return trials


def choose_weights(trials: Sequence[WeightTrial]) -> dict[str, float]:
    """Per language the weight with the best mean nDCG@10 over its collections.

    A weight that does harm in any of them is out; a language where none is left that helps is not
    named, which means that it is not reranked.
    """
    chosen = {}
    for language in sorted({trial.language for trial in trials if trial.language != "und"}):
        of = [trial for trial in trials if trial.language == language]
        harmless = [w for w in WEIGHTS if all(t.ndcg[w] >= t.ndcg[0.0] for t in of)]
        best = max(harmless, key=lambda w: (round(sum(t.ndcg[w] for t in of), 6), -w))
        if best > 0.0:
            chosen[language] = best
    return chosen


def fit_curves(
    collections: Sequence[Labelled], weights: Mapping[str, float]
) -> dict[Ordering, Curve]:
    """One curve for hits that the cosine orders, one for hits that the fused score orders.

    Each query counts twice: with what was found, and with its relevant documents taken out, as a
    query that nothing here answers. Collections weigh alike.
    """
    by_cosine, by_both = _Rows(), _Rows()
    for collection in collections:
        for query, answer in collection.retrieval.items():
            scores = [hit.retrieval_score for hit in answer.hits]
            by_cosine.add(collection, query, answer.hits, scores)
        for query, answer in collection.reranked.items():
            weight = weights.get(answer.language, 0.0)
            if weight > 0.0 and answer.status == "complete":
                hits = _scored(answer)
                by_both.add(collection, query, hits, _fused(hits, weight))
    curves: dict[Ordering, Curve] = {"retrieval": by_cosine.fit()}
    if by_both.labels:
        curves["fused"] = by_both.fit()
    return curves


class _Rows:
    """Hits as rows for a fit."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.labels: list[bool] = []
        self.queries: list[str] = []
        self.collections: list[str] = []

    def add(
        self, collection: Labelled, query: str, hits: Sequence[ScoredHit], scores: Sequence[float]
    ) -> None:
        grades = collection.qrels.get(query, {})
        rows = [
            (score, grades.get(hit.document, 0) > 0)
            for score, hit in sorted(
                zip(scores, hits, strict=True), key=lambda row: (-row[0], row[1].document)
            )
        ]
        answered = rows[:SHOWN_HITS]
        unanswered = [row for row in rows if not row[1]][:SHOWN_HITS]
        for score, label in answered + unanswered:
            self.scores.append(score)
            self.labels.append(label)
            self.queries.append(f"{collection.name}/{query}")
            self.collections.append(collection.name)

    def fit(self) -> Curve:
        names, counts = np.unique(self.collections, return_counts=True)
        share = dict(zip(names.tolist(), (len(self.scores) / counts / len(names)), strict=True))
        weights = [share[name] for name in self.collections]
        return fit_curve(self.scores, self.labels, self.queries, weights)


def _ndcg(answers: Mapping[str, Answer], qrels: Qrels, weight: float) -> float:
    run = {}
    for query, answer in answers.items():
        hits = _scored(answer)
        fused = _fused(hits, weight)
        order = sorted(range(len(hits)), key=lambda i: (-fused[i], hits[i].document))
        run[query] = [hits[i].document for i in order]
    judged = {query: qrels[query] for query in answers if query in qrels}
    return means(per_query(judged, run))["ndcg@10"]


def _scored(answer: Answer) -> list[ScoredHit]:
    return [hit for hit in answer.hits if hit.rerank_score is not None]


def _fused(hits: Sequence[ScoredHit], weight: float) -> list[float]:
    cosines = [hit.retrieval_score for hit in hits]
    logits = [hit.rerank_score for hit in hits if hit.rerank_score is not None]
    fused: list[float] = fuse(cosines, logits, weight).tolist()
    return fused
