"""What a mining took, what it rejected, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REASONS = {
    "before the window": "ranks before rank_min",
    "sibling": "is in an article of the right passage",
    "above the margin": "scores above the right passage's score less the margin",
    "above max_score": "scores above max_score",
    "no query of its own": "no query is known that it answers",
    "not needed": "fit, but the row was full",
}
"""Why a candidate is rejected, in the order in which it is asked."""


@dataclass(slots=True)
class MiningReport:
    """Counts of one mining. `scores` are those that the ranking gave; BM25's are not bounded.

    `right` counts candidates that are labelled right for their query, and `copies` documents whose
    text another document has too: both were never in question as negatives. A candidate is counted
    once for each pair of query and right passage that it could have served. `empty` counts pairs
    that found no negative and `incomplete` those left out for too few.
    """

    collection: str
    strategy: str
    queries: int = 0
    pairs: int = 0
    passages: int = 0
    copies: int = 0
    right: int = 0
    rows: int = 0
    negatives: int = 0
    empty: int = 0
    incomplete: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    ranks: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    positive_scores: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it, with quartiles in place of the lists."""
        counts = ("queries", "pairs", "passages", "copies", "right")
        taken = ("rows", "negatives", "empty", "incomplete")
        return {
            "collection": self.collection,
            "strategy": self.strategy,
            **{name: getattr(self, name) for name in (*counts, *taken)},
            "rejected": {reason: self.rejected[reason] for reason in REASONS},
            "rank_of_negatives": quartiles(self.ranks),
            "score_of_negatives": quartiles(self.scores),
            "score_of_positives": quartiles(self.positive_scores),
        }


def quartiles(values: Sequence[float]) -> Mapping[str, float] | None:
    """Minimum, quartiles and maximum of the finite values; None where there are none."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    names = ("min", "q1", "median", "q3", "max")
    found = np.quantile(finite, (0, 0.25, 0.5, 0.75, 1))
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True)}
