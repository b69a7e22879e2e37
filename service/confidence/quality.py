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


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative logarithm of the probability of what is so. 0 is best; 0 for no pairs.

    Probabilities are kept 1e-12 away from 0 and 1, so that one sure mistake is not infinite.
    """
    p, y = np.clip(np.asarray(probabilities, float), 1e-12, 1 - 1e-12), np.asarray(labels, float)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))) if len(p) else 0.0


def reliability(probabilities: ArrayLike, labels: ArrayLike) -> list[dict[str, float | int]]:
    """One row a bin of `expected_calibration_error` that is not empty.

    `n` pairs, their mean `probability`, the share of positives `found` and its 95 % Wilson interval
    `low` to `high`.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, float)
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    rows: list[dict[str, float | int]] = []
    for b in np.unique(bins):
        inside = bins == b
        n, positive = int(inside.sum()), int(y[inside].sum())
        low, high = wilson(positive, n)
        mean = float(p[inside].mean())
        rows.append({"n": n, "probability": mean, "found": positive / n, "low": low, "high": high})
    return rows


def threshold_for(
    probabilities: ArrayLike, labels: ArrayLike, precision: float, fewest: int = 20
) -> float | None:
    """The smallest probability from which at least the share `precision` of the pairs is positive.

    None where there is none with `fewest` pairs from it on: a handful may be right by chance.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, float)
    order = np.argsort(-p, kind="stable")
    p, y = p[order], y[order]
    share = np.cumsum(y) / np.arange(1, len(p) + 1)
    # Equal probabilities are taken together: a threshold cannot stand between them.
    last_of_equals = np.append(p[:-1] != p[1:], True)
    enough = (share >= precision) & last_of_equals & (np.arange(1, len(p) + 1) >= fewest)
    found = np.flatnonzero(enough) if len(p) else np.array([], int)
    return float(p[found[-1]]) if len(found) else None


def words(
    probabilities: Sequence[float], labels: Sequence[bool], thresholds: Thresholds
) -> dict[str, dict[str, float | int | None]]:
    """`tally` of the words that the thresholds give."""
    return tally([thresholds.word(p) for p in probabilities], labels)


def tally(given: Sequence[str], labels: Sequence[bool]) -> dict[str, dict[str, float | int | None]]:
    """For each word: `n` hits, which are the share `coverage` of all, and their `precision`.

    `given` is each hit's word. The interval `low` to `high` is Wilson's of 95 % (E. B. Wilson,
    "Probable Inference", JASA 1927). Precision is None where no hit has the word.
    """
    report: dict[str, dict[str, float | int | None]] = {}
    for word in ("high", "medium", "low"):
        of = [y for has, y in zip(given, labels, strict=True) if has == word]
        low, high = wilson(sum(of), len(of)) if of else (None, None)
        report[word] = {
            "n": len(of),
            "coverage": len(of) / len(labels) if labels else 0.0,
            "precision": sum(of) / len(of) if of else None,
            "low": low,
            "high": high,
        }
    return report


def wilson(positive: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of which `positive` of `n` (at least 1) were seen."""
    share = positive / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
