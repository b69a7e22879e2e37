"""Measures on three-level sets: does the correct one come first among correct, related, others?"""

from collections.abc import Mapping, Sequence

import numpy as np
from ir_measures import RR, Success
from numpy.typing import NDArray

from service.confidence.ranking import by_score
from service.datasets import LevelledCollection, LevelledQuery
from service.evaluation.measures import means, per_query

MEASURES = {
    "mrr": RR,
    "accuracy@1": Success @ 1,
    "hit@1": Success @ 1,
    "hit@3": Success @ 3,
    "hit@5": Success @ 5,
}

Vectors = NDArray[np.float32]


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
    """Means of `MEASURES` over the queries, 0 to 1; only correct documents count as found.

    A query that the run lacks counts 0. No queries give no figures.
    """
    qrels = {query.query_id: dict.fromkeys(query.correct, 1) for query in queries}
    return means(per_query(qrels, run, tuple(MEASURES), MEASURES)) if queries else {}


def passage_ids(levelled: LevelledCollection) -> list[str]:
    """Ids of all documents that some query is judged with, ascending."""
    return sorted({id_ for query in levelled.queries for id_ in candidates(query)})
