"""Are searches still like those of the calibration? The population stability index (PSI)."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np

from service.confidence.calibration import Histogram, Measure
from service.confidence.judge import Judge, Thresholds

WINDOW = 1000
"""The latest searches of a collection are compared with those of the calibration."""

FEWEST = 200
"""Searches below which an index says little: ten bins give some 0.05 by chance alone."""

WORD_BORDERS = (0.0, 1.0, 2.0)
"""Between the words as `ORDER` numbers them: each word has a bin of its own."""


def tenths(values: Sequence[float]) -> Sequence[float]:
    """Borders of bins with a tenth of the values each; fewer where values are equal."""
    found = np.quantile(values, np.arange(1, 10) / 10).round(4)
    borders: list[float] = np.unique(found).tolist()
    return borders


def counted(values: Iterable[float], borders: Sequence[float]) -> Histogram:
    """The histogram of the values in these bins."""
    places = np.searchsorted(borders, list(values), "right")
    counts = np.bincount(places, minlength=len(borders) + 1).tolist()
    return Histogram(borders=tuple(borders), counts=tuple(counts))


def psi(expected: Sequence[int], seen: Sequence[int]) -> float:
    """The index of two counts over the same bins: 0 if their shares are equal.

    Half a value is added to each bin, because an empty one would make it infinite.
    """
    p, q = (np.asarray(counts, float) + 0.5 for counts in (expected, seen))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


class Drift:
    """Counts the latest searches in the bins of a calibration's reference."""

    def __init__(self, reference: Mapping[Measure, Histogram]) -> None:
        self._reference = reference
        self._seen: dict[Measure, deque[int]] = {of: deque(maxlen=WINDOW) for of in reference}

    @classmethod
    def of(cls, judge: Judge) -> Self:
        """Compares what the judge's calibration has a reference for, if it fits the models.

        Words that begin at other probabilities than the fitted ones are not compared.
        """
        artifact = judge.artifact
        if artifact is None or not judge.knows_reranker:
            return cls({})
        as_fitted = judge.thresholds == Thresholds.of(artifact)
        kept = (one for one in artifact.reference.items() if as_fitted or one[0] != "confidence")
        return cls(dict(kept))

    def observe(self, values: Mapping[Measure, float | None]) -> None:
        """Count one search; a measure without a value is left out."""
        for of, seen in self._seen.items():
            value = values.get(of)
            if value is not None:
                seen.append(self._reference[of].place(value))

    def indices(self) -> Iterator[tuple[str, float]]:
        """The index of each measure with enough searches; also from another thread."""
        for of, seen in self._seen.items():
            places, expected = seen.copy(), self._reference[of].counts
            if len(places) >= FEWEST:
                yield of, psi(expected, np.bincount(places, minlength=len(expected)).tolist())
