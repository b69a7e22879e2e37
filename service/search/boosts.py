"""Boosts: what moves hits in the order, and changes nothing else of them.

A boost adds to the score that orders a hit, within `BOUND` standard deviations of the scores
beside it. The scores that are shown, probabilities and words stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.confidence.ranking import by_score
from service.documents.rows import composed
from service.store.metadata_values import MetadataRow, kind_of, metadata_rows, microseconds
from service.types import FilterScalar, Metadata

BOUND = 0.5
"""A hit moves by at most this many standard deviations of the scores of all hits, up or down.

Measured on TyDi QA (en, 200 queries) and CISI (76), with a full boost of half of the documents
picked at random: nDCG@10 loses 0.004 at most, and of the first ten hits 67 % are boosted ones. With
a bound of 1 it loses 0.007 (0.018 where a tenth is boosted), with 2 up to 0.06.
"""

_DAY = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Boost:
    """Moves documents by one metadata field, up to `weight`, -1 to 1.

    With `scale` None: those that have one of `values`. Else those whose number or date is near
    `origin`, where None is the present moment: half of the weight at a distance of `scale`, in
    days for dates, a quarter at twice that.
    """

    field: str
    weight: float
    values: tuple[FilterScalar, ...] = ()
    scale: float | None = None
    origin: float | str | None = None

    def match(self, metadata: Metadata, now: float) -> float:
        """How well a document matches, 0 to 1; the best of several values counts."""
        name = composed(self.field)
        rows = metadata_rows({n: value for n, value in metadata.items() if composed(n) == name})
        if self.scale is None:
            return float(any(self._has(row) for row in rows))
        return max((self._nearness(row, self.scale, now) for row in rows), default=0.0)

    def _has(self, row: MetadataRow) -> bool:
        return any(
            kind_of(value) == row.kind
            and row.value == (composed(value) if isinstance(value, str) else value)
            for value in self.values
        )

    def _nearness(self, row: MetadataRow, scale: float, now: float) -> float:
        if isinstance(self.origin, float | int):
            kind, origin, unit = "number", float(self.origin), scale
        else:
            moment = None if self.origin is None else microseconds(self.origin)
            kind, origin, unit = "date", now * 1e6 if moment is None else moment, scale * _DAY
        if row.kind != kind:
            return 0.0
        return float(0.5 ** (abs(float(row.value) - origin) / unit))


def strength(boosts: Sequence[Boost], metadata: Metadata, now: float) -> float:
    """How strongly a document is boosted: the sum of its weights, cut to -1 to 1.

    `now` is in seconds since 1970.
    """
    total = sum(boost.weight * boost.match(metadata, now) for boost in boosts)
    return round(max(-1.0, min(1.0, total)), 6)


def boosted(scores: Sequence[float], strengths: Sequence[float], ids: Sequence[Any]) -> list[int]:
    """Places of hits in their order after the boost; ties go to the lower id.

    `scores` have ordered the hits until now; all have shape (n,), n at least 1.
    """
    values = np.asarray(scores, np.float64)
    return by_score(values + BOUND * values.std() * np.asarray(strengths, np.float64), ids)
