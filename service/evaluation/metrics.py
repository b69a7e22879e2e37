"""Retrieval measures, all from `ir-measures`."""

from collections.abc import Mapping

import ir_measures
from ir_measures import RR, R, Success, nDCG

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; above 0 is relevant."""

Run = Mapping[str, list[str]]
"""Query id -> document ids, best first, each once."""

MEASURES = {
    "ndcg@10": nDCG @ 10,
    "mrr@10": RR @ 10,
    "recall@100": R @ 100,
    "accuracy@1": Success @ 1,
}


def per_query(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Measure name -> query id -> value, for every query that has a relevant document.

    A query that the run lacks counts 0. The run's order is taken as it is: ties were broken
    before.
    """
    judged = {q: dict(grades) for q, grades in qrels.items() if any(g > 0 for g in grades.values())}
    scored = {
        query: {document: float(-rank) for rank, document in enumerate(run.get(query, []))}
        for query in judged
    }
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judged, 0.0) for name in MEASURES}
    names = {measure: name for name, measure in MEASURES.items()}
    for found in ir_measures.iter_calc(list(names), judged, scored):
        values[names[found.measure]][found.query_id] = found.value
    return values


def means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean over queries of each measure; 0 where there is no query."""
    return {name: sum(of.values()) / len(of) if of else 0.0 for name, of in values.items()}
