"""The part of a long passage that shares most with the query."""

import numpy as np
from numpy.typing import NDArray


def best_window(
    query: NDArray[np.int32], passage: NDArray[np.int32], width: int
) -> NDArray[np.int32]:
    """`width` tokens of a passage of more, such that the query's tokens in them weigh most.

    A token of the query weighs 1 / (how often the passage has it), so that words found everywhere
    in it say little of where to look. Of windows that weigh the same the beginning is taken if it
    is one of them, else the middle one of the first row of such: what is shared is then amid
    the window. The pair alone decides, no other passage.
    """
    starts = len(passage) - width + 1
    weights = np.zeros(starts)
    for token in np.unique(query):
        there = passage == token
        total = int(there.sum())
        if total:
            counts = np.concatenate([[0], np.cumsum(there)])
            weights += (counts[width:] > counts[:starts]) / total
    # Sums of such fractions differ in their last bits with the order of addition.
    best = np.flatnonzero(weights >= weights.max() - 1e-9)
    if best[0] == 0:
        return passage[:width]
    row = best[best - best[0] == np.arange(len(best))]
    start = int(row[len(row) // 2])
    return passage[start : start + width]
