"""Measures from ir-measures: of retrieval, and of three-level sets."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ir_measures
import numpy as np
from ir_measures import AP, RR, P, R, Success, nDCG

from service.confidence.ranking import by_score
from service.datasets import LevelledCollection, LevelledQuery
from service.types import Vectors

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; above 0 is relevant."""

Run = Mapping[str, Sequence[str]]
"""Query id -> document ids, best first, each once."""

CUTOFFS = (1, 3, 5, 10)

MEASURES = {
    "ndcg@10": nDCG @ 10,
    "mrr@10": RR @ 10,
    "recall@100": R @ 100,
    "map@100": AP @ 100,
    "ndcg@5": nDCG @ 5,
    **{f"accuracy@{k}": Success @ k for k in CUTOFFS},
    **{f"precision@{k}": P @ k for k in CUTOFFS},
    **{f"recall@{k}": R @ k for k in CUTOFFS},
    "hit@20": Success @ 20,
    "hit@100": Success @ 100,
}
"""NanoBEIR's set by its names, and more. Its accuracy@k is the share of queries with a relevant
document among the first k, which others call hit@k."""


def per_query(
    qrels: Qrels,
    run: Run,
    measures: Collection[str] = tuple(MEASURES),
    known: Mapping[str, Any] = MEASURES,
) -> dict[str, dict[str, float]]:
    """Measure name -> query id -> value, for every query that has a relevant document.

    A query that the run lacks counts 0. The run's order is final: it has no ties. `measures` are
    names of some of those that are `known`.
    """
    judged = {q: dict(grades) for q, grades in qrels.items() if any(g > 0 for g in grades.values())}
    scored = {
        query: {document: float(-rank) for rank, document in enumerate(run.get(query, []))}
        for query in judged
    }
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judged, 0.0) for name in measures}
    # By its text: to compare two measures is to build the texts of both.
    names: dict[str, list[str]] = {}
    for name in measures:
        names.setdefault(str(known[name]), []).append(name)
    for found in ir_measures.iter_calc({known[name] for name in measures}, judged, scored):
        for name in names[str(found.measure)]:
            values[name][found.query_id] = found.value
    return values


def means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean over queries of each measure; 0 if there is no query."""
    return {name: sum(of.values()) / len(of) if of else 0.0 for name, of in values.items()}


LEVEL_MEASURES = {
    "mrr": RR,
    "accuracy@1": Success @ 1,
    "hit@1": Success @ 1,
    "hit@3": Success @ 3,
    "hit@5": Success @ 5,
}


def candidates(query: LevelledQuery) -> list[str]:
    """Ids of all documents that a query is judged with, ascending."""
    return sorted({*query.correct, *query.related, *query.irrelevant})


def rank_levels(
    queries: Sequence[LevelledQuery], query_vectors: Vectors, passage_vectors: Mapping[str, Vectors]
) -> dict[str, list[str]]:
    """Query id -> document ids of its candidates by descending dot product, ties by id.

    `query_vectors` has a row for each query, `passage_vectors` a vector for each candidate's id.
    """
    run: dict[str, list[str]] = {}
    for query, vector in zip(queries, query_vectors, strict=True):
        ids = candidates(query)
        scores = np.stack([passage_vectors[id_] for id_ in ids]) @ vector
        run[query.query_id] = [ids[i] for i in by_score(scores, ids)]
    return run


def level_figures(
    queries: Sequence[LevelledQuery], run: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Means of `LEVEL_MEASURES` over the queries, 0 to 1; only correct documents count as found.

    A query that the run lacks counts 0. No queries give no figures.
    """
    qrels = {query.query_id: dict.fromkeys(query.correct, 1) for query in queries}
    return means(per_query(qrels, run, tuple(LEVEL_MEASURES), LEVEL_MEASURES)) if queries else {}


def passage_ids(levelled: LevelledCollection) -> list[str]:
    """Ids of all documents that some query is judged with, ascending."""
    return sorted({id_ for query in levelled.queries for id_ in candidates(query)})
