"""Is a difference more than chance? Paired tests and intervals over queries."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 9999
FOLDS = 5

_MOST_NUMBERS = 10_000_000
"""Numbers that one batch of the bootstrap holds: 80 MB."""


class Difference(TypedDict):
    """The difference between a baseline and another ranking of the same queries.

    `mean` of the differences, its 95 % interval `low` to `high` by Student's t and that of the
    bootstrap, the paired t-test's `t` and two-sided `p`, and how many queries `won`, `lost` or
    `tied`.
    """

    queries: int
    mean: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    t: float
    p: float
    won: int
    lost: int
    tied: int


def paired(before: Mapping[str, float], after: Mapping[str, float], seed: int = 0) -> Difference:
    """Compare two values of each query, by query id; both must have the same queries."""
    return difference_of([after[query] - before[query] for query in sorted(before)], seed)


def difference_of(values: ArrayLike, seed: int = 0) -> Difference:
    """Summarise differences of shape (n,).

    Uses Student's paired t-test: Smucker, Allan and Carterette found that it agrees with the
    randomization test ("A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation", CIKM 2007). If all differences are equal, p is 1 if they are 0, else 0.
    """
    differences = np.asarray(values, np.float64)
    n, mean = len(differences), float(differences.mean()) if len(differences) else 0.0
    t, p, low, high = 0.0, 1.0 if mean == 0.0 else 0.0, mean, mean
    if n > 1 and np.ptp(differences) > 0.0:
        tested = stats.ttest_1samp(differences, 0.0)
        t, p = float(tested.statistic), float(tested.pvalue)
        interval = tested.confidence_interval(CONFIDENCE)
        low, high = float(interval.low), float(interval.high)
    drawn_low, drawn_high = bootstrap_interval(differences.tolist(), seed)
    return Difference(
        queries=n,
        mean=mean,
        low=low,
        high=high,
        bootstrap_low=drawn_low,
        bootstrap_high=drawn_high,
        t=t,
        p=p,
        won=int(np.sum(differences > 0)),
        lost=int(np.sum(differences < 0)),
        tied=int(np.sum(differences == 0)),
    )


def bootstrap_interval(
    values: Sequence[float], seed: int = 0, *others: Sequence[float]
) -> tuple[float, float]:
    """95 % interval of the mean of `values`: percentiles of `RESAMPLES` means drawn with `seed`.

    With `others`, the interval of the mean of all their means, each drawn within itself, so that
    collections weigh alike. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979. (0, 0)
    if there are no values.
    """
    samples = [np.asarray(v, np.float64) for v in (values, *others) if len(v)]
    if not samples:
        return 0.0, 0.0
    rng = np.random.default_rng(seed)
    drawn = np.mean([_drawn_means(sample, rng) for sample in samples], axis=0)
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return float(low), float(high)


def _drawn_means(sample: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of `RESAMPLES` samples drawn with replacement, in batches that fit the memory."""
    if len(sample) == 1 or np.ptp(sample) == 0.0:
        return np.full(RESAMPLES, sample.mean())
    found = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, _MOST_NUMBERS // len(sample)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=rng,
    )
    means: NDArray[np.float64] = found.bootstrap_distribution
    return means


def difference_over(parts: Iterable[ArrayLike]) -> Difference:
    """`difference_of` the differences of all collections, which weigh alike.

    Differences are scaled so that their mean is the mean over collections.
    """
    found = [part for part in (np.asarray(part, np.float64) for part in parts) if len(part)]
    mean_size = sum(map(len, found)) / len(found)
    return difference_of(np.concatenate([part * (mean_size / len(part)) for part in found]))


def folds(n: int) -> NDArray[np.int_]:
    """The fold, 0 to `FOLDS` - 1, of each of n things; the same ones at each call."""
    return np.random.default_rng(0).permutation(n) % FOLDS
