"""The one rule by which hits are ordered when served, calibrated on or evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.confidence.calibration import Ordering

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ordered:
    """Documents in their final order, best first.

    - `places`, shape (n,): the place of each document's best passage among the candidates
    - `scores`, shape (n,): what ordered them
    - `basis`, shape (m,), m <= n: the scores of the first m that the curve of `ordering` reads; no
      curve holds for the others
    """

    places: list[int]
    scores: Floats
    basis: Floats
    ordering: Ordering


def rank(
    ids: Sequence[tuple[Any, int]],
    cosines: ArrayLike,
    logits: ArrayLike = (),
    share: float = 0.0,
    stage_one: ArrayLike | None = None,
) -> Ordered:
    """Order the n candidates of one search, each document by its best passage.

    - `ids`: (document's key, passage id) of each candidate; they break ties
    - `cosines`, shape (n,): of query and passage
    - `logits`, shape (m,), m <= n: what the reranker says of the first m
    - `share`: of the reranker, 0 to 1; the first m are ordered by `fuse`, before all others
    - `stage_one`, shape (n,): what orders those that are not reranked; by default the cosines
    """
    cosine, logit = np.asarray(cosines, np.float64), np.asarray(logits, np.float64)
    scores = np.array(cosine if stage_one is None else stage_one, np.float64)
    m = len(logit) if share > 0.0 else 0
    scores[:m] = fuse(cosine[:m], logit[:m], share)
    first: dict[Any, int] = {}
    for place in by_score(scores[:m], ids[:m]) + [m + i for i in by_score(scores[m:], ids[m:])]:
        first.setdefault(ids[place][0], place)
    places = list(first.values())
    if not m:
        return Ordered(places, scores[places], cosine[places], "retrieval")
    reranked = [place for place in places if place < m]
    return Ordered(places, scores[places], scores[reranked], "rerank" if share >= 1.0 else "fused")


def by_score(scores: ArrayLike, ids: Sequence[Any]) -> list[int]:
    """Places by falling score, ties by rising id; `scores` has shape (n,)."""
    rising = (-np.asarray(scores, np.float64)).tolist()
    return [place for _, _, place in sorted(zip(rising, ids, range(len(ids)), strict=True))]


def fuse(cosines: ArrayLike, logits: ArrayLike, share: float) -> Floats:
    """The score that orders candidates when the reranker has this share, 0 to 1.

    The order is that of `share * z(logit) + (1 - share) * z(cosine)`, z-scored within these
    candidates. For 0 < share < 1 that sum is scaled and shifted, alike for all candidates, to be
    the cosine moved by what the reranker adds:

        cosine + share / (1 - share) * std(cosine) * z(logit)

    The score keeps the cosine's meaning between queries. A calibration needs that, and plain
    z-scores lose it: the best of nothing would look like the best of much. Share 1 gives the
    logits, share 0 the cosines. All have shape (n,). One candidate alone keeps its cosine.
    """
    cosine, logit = np.asarray(cosines, np.float64), np.asarray(logits, np.float64)
    if share >= 1.0:
        return logit
    spread = float(logit.std()) if len(logit) else 0.0
    if share <= 0.0 or spread == 0.0:
        return cosine
    weight = share / (1.0 - share) * float(cosine.std()) / spread
    moved: Floats = cosine + weight * (logit - logit.mean())
    return moved
