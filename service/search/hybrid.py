"""One order of passages out of two: that of their vectors and that of their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.confidence.judge import by_score
from service.types import Fusion

RRF_K = 60
"""The constant of reciprocal rank fusion, as its authors chose it."""


@dataclass(frozen=True, slots=True)
class Hybrid:
    """How to fuse. `weight` is the share of the words, 0 to 1; at 0.5 both ways count alike."""

    fusion: Fusion = "weighted"
    weight: float = 0.2

    def scores(
        self, nearest: Sequence[int], cosines: Mapping[int, float], bm25: Mapping[int, float]
    ) -> dict[int, float]:
        """Passage id -> fused score, higher is better.

        `nearest` has the passages that were found by their vectors, best first, `bm25` those found
        by words, `cosines` both.
        """
        if self.fusion == "rrf":
            ids = list(bm25)
            by_words = [ids[place] for place in by_score(list(bm25.values()), ids)]
            return reciprocal_ranks(nearest, by_words, self.weight)
        return weighted(cosines, bm25, self.weight)


def reciprocal_ranks(
    dense: Sequence[int], sparse: Sequence[int], weight: float
) -> dict[int, float]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009) of ids, best first.

    An id has weight / (60 + rank) from each list that holds it, ranks from 1.
    """
    scores: dict[int, float] = {}
    for ids, share in ((dense, 1.0 - weight), (sparse, weight)):
        for rank, id_ in enumerate(ids, 1):
            scores[id_] = scores.get(id_, 0.0) + share / (RRF_K + rank)
    return scores


def weighted(
    cosines: Mapping[int, float], bm25: Mapping[int, float], weight: float
) -> dict[int, float]:
    """Sum of both scores, each brought to 0 to 1 among these passages.

    The convex combination of Bruch, Gai and Ingber (TOIS 2023): the cosine min-max scaled, BM25,
    whose least is 0, divided by its greatest. A passage not found by words has 0 of it.
    """
    if not cosines:
        return {}
    lowest, highest = min(cosines.values()), max(cosines.values())
    spread, most = highest - lowest or 1.0, max(bm25.values(), default=1.0)
    return {
        id_: (1.0 - weight) * (cosine - lowest) / spread + weight * bm25.get(id_, 0.0) / most
        for id_, cosine in cosines.items()
    }
