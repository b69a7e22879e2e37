"""Is a probability what it says? Measures over (probability, label) pairs."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from service.confidence.words import Thresholds

BINS = 15


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over `BINS` equal bins of |mean probability - share of positives|, weighted by size.

    Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015. 0 is best, 1 worst; 0 for no pairs.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, float)
    if not len(p):
        return 0.0
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps = [abs(p[bins == b].sum() - y[bins == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / len(p))


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared difference of probability and label. 0 is best, 1 worst; 0 for no pairs."""
    p, y = np.asarray(probabilities, float), np.asarray(labels, float)
    return float(np.mean((p - y) ** 2)) if len(p) else 0.0


def words(
    probabilities: Sequence[float], labels: Sequence[bool], thresholds: Thresholds
) -> dict[str, dict[str, float | int | None]]:
    """For each word: `n` hits, `precision`, and its 95 % Wilson interval `low` to `high`.

    E. B. Wilson, "Probable Inference", JASA 1927. Precision is None where no hit has the word.
    """
    report: dict[str, dict[str, float | int | None]] = {}
    for word in ("high", "medium", "low"):
        of = [y for p, y in zip(probabilities, labels, strict=True) if thresholds.word(p) == word]
        low, high = _wilson(sum(of), len(of)) if of else (None, None)
        precision = sum(of) / len(of) if of else None
        report[word] = {"n": len(of), "precision": precision, "low": low, "high": high}
    return report


def _wilson(positive: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share = positive / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
