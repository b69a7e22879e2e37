"""What a collection's labels say of its search: measures, confidence, depth, lost queries."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.confidence.adjust import FEWEST_JUDGED
from service.confidence.fit import FEWEST_POSITIVE
from service.confidence.fit import FOLDS as FEWEST_QUERIES
from service.confidence.judge import Judge
from service.confidence.quality import quality, reliability
from service.evaluation.candidates import Observed
from service.evaluation.depth import DEPTHS, measure_depths
from service.evaluation.label_set import LabelSet
from service.evaluation.measures import means, per_query
from service.evaluation.report import SHOWN_HITS
from service.evaluation.significance import bootstrap_interval
from service.types import Word

MEASURED = ("ndcg@10", "mrr@10", "recall@100", "accuracy@1")

MOST_LOST = 100
"""Lost documents that a report names."""


@dataclass(frozen=True, slots=True)
class JudgedHit:
    """A hit as it would be shown, and its grade, if it has one."""

    query: str
    document: str
    rank: int
    probability: float | None
    word: Word
    grade: int | None


def shown_hits(observed: Observed, judge: Judge) -> Iterator[list[JudgedHit]]:
    """All hits of each query, best first, by this judge."""
    for query, search in sorted(observed.searches.items()):
        found, grades = search.answered, observed.qrels.get(query, {})
        share = judge.rerank_weight(found.language)
        ordered = found.ranked(share, judge.rerank_depth)
        known = judge.probabilities(ordered.basis.tolist(), ordered.ordering, found.language) or []
        hits = []
        for rank, place in enumerate(ordered.places, 1):
            document = found.documents[place]
            probability = known[rank - 1] if rank <= len(known) else None
            word = judge.thresholds.word(probability)
            grade = grades.get(document)
            hits.append(JudgedHit(query, document, rank, probability, word, grade))
        yield hits


def label_report(labels: LabelSet, observed: Observed, judge: Judge) -> dict[str, Any]:
    """The figures, as a dictionary for JSON."""
    hits = list(shown_hits(observed, judge))
    runs = {
        "retrieval": {q: s.answered.ranking(0.0, 0, 100) for q, s in observed.searches.items()},
        "reranked": {of[0].query: [hit.document for hit in of][:100] for of in hits if of},
    }
    return {
        "labels": labels.name,
        "calibration": judge.name,
        "coverage": coverage(labels, hits),
        "measures": {name: _measures(labels, run) for name, run in runs.items()},
        "confidence": _confidence(hits),
        "depths": _depths(observed, judge),
        "lost": _lost(labels, hits)[:MOST_LOST],
    }


def coverage(labels: LabelSet, hits: list[list[JudgedHit]]) -> dict[str, Any]:
    """How many labels there are, how many of the shown hits they judge, and what they suffice for.

    `usable` are judged hits that search still finds and gives a score.
    """
    grades = [grade for of in labels.qrels.values() for grade in of.values()]
    shown = [hit for of in hits for hit in of[:SHOWN_HITS]]
    usable = [hit for of in hits for hit in of if hit.grade is not None]
    relevant = sum(hit.grade > 0 for hit in usable if hit.grade is not None)
    judged = sum(hit.grade is not None for hit in shown)
    return {
        "queries": len(labels.queries),
        "judged": len(grades),
        "relevant": sum(grade > 0 for grade in grades),
        "not_relevant": sum(grade <= 0 for grade in grades),
        "shown": len(shown),
        "shown_judged": judged,
        "usable": len(usable),
        "usable_relevant": relevant,
        "adjust_from": FEWEST_JUDGED,
        "own_curve_from": {"relevant": FEWEST_POSITIVE, "queries": FEWEST_QUERIES},
        "missing": _missing(len(usable), relevant),
    }


def _missing(usable: int, relevant: int) -> list[str]:
    """What keeps a calibration from being fitted, in words."""
    found = []
    if usable < FEWEST_JUDGED:
        found.append(f"{FEWEST_JUDGED - usable} more judged hits")
    if not relevant:
        found.append("a hit that is relevant")
    if relevant == usable:
        found.append("a hit that is not relevant")
    return found


def _measures(labels: LabelSet, run: Mapping[str, list[str]]) -> dict[str, Any] | None:
    values = per_query(labels.qrels, run, MEASURED)
    if not values["ndcg@10"]:
        return None
    found = {}
    for name, value in means(values).items():
        of = list(values[name].values())
        low, high = bootstrap_interval(of) if len(of) > 1 else (None, None)
        found[name] = {"value": value, "low": low, "high": high}
    return found


def _confidence(hits: list[list[JudgedHit]]) -> dict[str, Any] | None:
    """ECE, Brier score, words and reliability over the judged hits; None if uncalibrated."""
    rows = [
        (hit.probability, hit.grade > 0, hit.word)
        for of in hits
        for hit in of
        if hit.grade is not None and hit.probability is not None
    ]
    if not rows:
        return None
    probabilities, right, words = (list(column) for column in zip(*rows, strict=True))
    return {
        **quality(probabilities, right, words),
        "reliability": reliability(probabilities, right),
    }


def _depths(observed: Observed, judge: Judge) -> list[dict[str, Any]]:
    """nDCG@10 at each depth of the rerank; empty where there is nothing to compare."""
    has_relevant = any(grade > 0 for of in observed.qrels.values() for grade in of.values())
    if not has_relevant or judge.reranker_weights_sha256 is None:
        return []
    depths = [depth for depth in DEPTHS if depth < judge.rerank_depth] + [judge.rerank_depth]
    rows = measure_depths([observed], judge.rerank_weight, depths)
    kept = ("depth", "ndcg", "loss", "low", "high")
    return [{name: asdict(row)[name] for name in kept} for row in rows]


def _lost(labels: LabelSet, hits: list[list[JudgedHit]]) -> list[dict[str, Any]]:
    """Relevant documents that search does not find or shows too low, the worst first."""
    lost = []
    ranked = {of[0].query: of for of in hits if of}
    for query, grades in labels.qrels.items():
        found = {hit.document: hit for hit in ranked.get(query, [])}
        relevant = [document for document, grade in grades.items() if grade > 0]
        missing = [document for document in relevant if document not in found]
        best = min((found[d] for d in relevant if d in found), key=lambda h: h.rank, default=None)
        lost += [_row(query, document, None, []) for document in missing]
        if best is not None and best.rank > 1:
            above = ranked[query][: best.rank - 1]
            lost.append(_row(query, best.document, best.rank, above))
    return sorted(lost, key=lambda row: (-(row["rank"] or 10_000), row["query_id"]))


def _row(query: str, document: str, rank: int | None, above: list[JudgedHit]) -> dict[str, Any]:
    """Without the query's text, which is kept with the labels alone."""
    unjudged = sum(hit.grade is None for hit in above)
    reason = "below_unjudged" if unjudged else "below_not_relevant"
    return {
        "query_id": query,
        "document": document,
        "reason": "not_found" if rank is None else reason,
        "rank": rank,
        "unjudged_above": unjudged,
    }
