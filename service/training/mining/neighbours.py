"""Hard negatives: the passages that the model itself takes for near, and that are not right.

The method is that of ANCE (Xiong et al., *Approximate Nearest Neighbor Negative Contrastive
Learning for Dense Text Retrieval*, ICLR 2021); calling it again as the model changes is the whole
of it. The margin under the positive's score follows NV-Retriever (Moreira et al., 2024).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.index.faiss_index import FaissIndex
from service.training.mining.choice import Choice, Ranking
from service.training.mining.examples import Examples
from service.types import Vectors

Encode = Callable[[Sequence[str]], Vectors]
"""Texts -> float32 (n, dim), rows of unit length, input order; adds the model's own prefix."""

_QUERIES_AT_ONCE = 512


def rank_dense(
    queries: Vectors, passages: Vectors, examples: Examples, choice: Choice
) -> list[Ranking]:
    """Each query's nearest passages, enough for the choice's window; ties by place.

    By inner product, found exactly. Raises `InferenceError` for vectors that are not finite.
    """
    index = FaissIndex.build(
        [(np.arange(len(passages), dtype=np.int64), passages)],
        dimension=passages.shape[1],
        kind="flat",
    )
    wanted = choice.rank_max + max(map(len, examples.positives))
    rankings = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        found = index.search(queries[start : start + _QUERIES_AT_ONCE], wanted)
        for query, candidates in enumerate(found, start):
            places = np.array([candidate.passage_id for candidate in candidates], np.int64)
            scores = np.array([candidate.score for candidate in candidates], np.float64)
            positives = cosines(queries[query], passages, examples.positives[query])
            rankings.append(Ranking(places, scores, positives))
    return rankings


def rescored(
    rankings: Iterable[Ranking], queries: Vectors, passages: Vectors, examples: Examples
) -> list[Ranking]:
    """The same candidates in the same order with their cosines in place of their scores."""
    return [
        Ranking(
            ranking.places,
            cosines(queries[query], passages, ranking.places),
            cosines(queries[query], passages, examples.positives[query]),
        )
        for query, ranking in enumerate(rankings)
    ]


def cosines(
    query: NDArray[np.float32], passages: Vectors, places: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Inner products of one vector (dim,) with the passages at `places`, in [-1, 1]."""
    chosen = passages[np.asarray(places, np.int64)].astype(np.float64)
    # Summed as the index sums, so that a candidate and a positive can be compared to the last bit.
    products: NDArray[np.float64] = (chosen * query.astype(np.float64)).sum(axis=1)
    return products.clip(-1.0, 1.0)
