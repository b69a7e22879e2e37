"""Is a probability what it says? Measures over (probability, label) pairs.

Arguments of all functions are arrays of shape (n,): `probabilities` from 0 to 1, `labels` that are
1 or true where the hit is relevant, `given` words.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss

BINS = 15


def quality(probabilities: ArrayLike, labels: ArrayLike, given: ArrayLike) -> dict[str, Any]:
    """Number of `hits`, `ece`, `brier` score and the `tally` of the `words` that were given.

    The scores are 0 at best and 1 at worst; 0 where there is no hit.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, int)
    return {
        "hits": len(p),
        "ece": expected_calibration_error(p, y),
        "brier": float(brier_score_loss(y, p, pos_label=1)) if len(p) else 0.0,
        "words": tally(given, y),
    }


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over `BINS` equal bins of |mean probability - share of positives|, weighted by size.

    Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015. 0 is best, 1 worst; 0 for no pairs.
    """
    rows = reliability(probabilities, labels)
    gaps = [row["n"] * abs(row["probability"] - row["found"]) for row in rows]
    return float(sum(gaps) / max(1, sum(row["n"] for row in rows)))


def reliability(probabilities: ArrayLike, labels: ArrayLike) -> list[dict[str, Any]]:
    """One row a bin of `expected_calibration_error` that is not empty.

    `n` pairs, their mean `probability`, the share of positives `found` and its 95 % Wilson interval
    `low` to `high`.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, int)
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    rows = []
    for b in np.unique(bins):
        inside = bins == b
        n, found, low, high = _share(y[inside])
        mean = float(p[inside].mean())
        rows.append({"n": n, "probability": mean, "found": found, "low": low, "high": high})
    return rows


def threshold_for(
    probabilities: ArrayLike, labels: ArrayLike, precision: float, fewest: int = 20
) -> float:
    """The smallest probability from which at least the share `precision` of the pairs is positive.

    Infinity where there is none with `fewest` pairs from it on: a handful may be right by chance.
    """
    p, y = np.asarray(probabilities, float), np.asarray(labels, float)
    order = np.argsort(-p, kind="stable")
    p, y = p[order], y[order]
    share = np.cumsum(y) / np.arange(1, len(p) + 1)
    # Equal probabilities are taken together: a threshold cannot stand between them.
    last_of_equals = np.append(p[:-1] != p[1:], True)
    enough = (share >= precision) & last_of_equals & (np.arange(1, len(p) + 1) >= fewest)
    found = np.flatnonzero(enough) if len(p) else np.array([], int)
    return float(p[found[-1]]) if len(found) else math.inf


def tally(given: ArrayLike, labels: ArrayLike) -> dict[str, dict[str, Any]]:
    """For each word: `n` hits, which are the share `coverage` of all, and their `precision`.

    The interval `low` to `high` is Wilson's of 95 % (E. B. Wilson, "Probable Inference", JASA
    1927). Precision and interval are None where no hit has the word.
    """
    words, y = np.asarray(given), np.asarray(labels, int)
    report = {}
    for word in ("high", "medium", "low"):
        n, precision, low, high = _share(y[words == word])
        coverage = n / max(1, len(y))
        report[word] = {
            "n": n, "coverage": coverage, "precision": precision, "low": low, "high": high,
        }  # fmt: skip
    return report


def _share(labels: NDArray[np.int_]) -> tuple[int, Any, Any, Any]:
    """Their number, the share of positives and its interval, None where there is no label."""
    n, positive = len(labels), int(labels.sum())
    if not n:
        return 0, None, None, None
    interval = binomtest(positive, n).proportion_ci(0.95, method="wilson")
    return n, positive / n, float(interval.low), float(interval.high)
