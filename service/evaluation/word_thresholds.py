"""Where words begin, their precision on held-out queries, and which labels are too few."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import Ordering, WordThreshold
from service.confidence.judge import Thresholds
from service.confidence.quality import tally, threshold_for
from service.evaluation.calibrating import Fitted, Hits
from service.evaluation.significance import FOLDS, folds

ENOUGH_POSITIVE = 200
"""Relevant hits from which a curve is reliable: Van Calster et al., "A Calibration Hierarchy for
Risk Models", Journal of Clinical Epidemiology 2016."""

LOWEST_HIGH, LOWEST_MEDIUM = 0.5, 0.25
"""Least probabilities at which a word may begin, however sure its other hits are."""

MARGIN = 0.05
"""A word's precision is known well enough if its interval reaches this far to either side."""


def find_thresholds(held: Hits, high: float, medium: float) -> Thresholds:
    """Where `high` and `medium` begin, so that each word's own hits have the stated precision.

    Neither begins below its least probability: otherwise many sure hits would carry unlikely ones.
    A word that no probability reaches begins at infinity.
    """
    p, y = held["probability"], held["label"]
    likely = p >= min(LOWEST_HIGH, high)
    from_high = threshold_for(p[likely], y[likely], high)
    between = (p >= min(LOWEST_MEDIUM, medium)) & (p < from_high)
    return Thresholds(from_high, threshold_for(p[between], y[between], medium))


def given_words(held: Hits, high: float, medium: float) -> NDArray[np.str_]:
    """Each hit's word, shape (n,), by thresholds that were found on four fifths of the queries.

    Its own query is in the other fifth. On the hits that chose a threshold, the precision would be
    the stated one by construction.
    """
    names, of = np.unique(held["query"], return_inverse=True)
    fold = folds(len(names))[of]
    words = np.full(len(of), "low", dtype="<U6")
    for number in range(FOLDS):
        test = fold == number
        found = find_thresholds(held[~test], high, medium)
        words[test] = words_from(found, held[test])
    return words


def words_from(thresholds: Thresholds, held: Hits) -> NDArray[np.str_]:
    """Each hit's word, shape (n,), by thresholds found without these queries."""
    return np.array([thresholds.word(value) for value in held["probability"].tolist()], str)


def fit_thresholds(
    held: Hits, given: NDArray[np.str_], high: float, medium: float
) -> dict[str, WordThreshold]:
    """The thresholds found on all queries, each with the precision that `given_words` gives."""
    found = find_thresholds(held, high, medium)
    worth = tally(given, held["label"])
    stated = {"high": (high, found.high), "medium": (medium, found.medium)}
    return {
        word: WordThreshold(
            **{**worth[word], "precision": precision},
            found=worth[word]["precision"],
            probability=None if math.isinf(threshold) else threshold,
        )
        for word, (precision, threshold) in stated.items()
    }


def shortages(
    fitted: Mapping[Ordering, Fitted], thresholds: Mapping[str, WordThreshold], queries: int
) -> list[str]:
    """What the labels are too few for, and how many are enough, one sentence each."""
    said = []
    for ordering, one in fitted.items():
        positive = one.fit.curve.positive
        if positive < ENOUGH_POSITIVE:
            of = len(set(one.hits["query"]))
            said.append(
                f"curve {ordering!r} rests on {positive} relevant hits; {ENOUGH_POSITIVE} are "
                f"enough, some {math.ceil(of * ENOUGH_POSITIVE / positive)} queries like these {of}"
            )
    for word, threshold in thresholds.items():
        stated = f"{word!r} with a precision of {threshold.precision:g}"
        if threshold.probability is None or not threshold.n:
            said.append(f"no probability gives {stated}: the word is never used")
            continue
        enough = enough_hits(threshold.precision)
        if threshold.n < enough:
            more = math.ceil(queries * enough / threshold.n)
            said.append(
                f"{stated} rests on {threshold.n} hits (interval {threshold.low:.2f} to "
                f"{threshold.high:.2f}); {enough} are enough for {MARGIN:g} to either side, some "
                f"{more} queries like these {queries}"
            )
    return said


def enough_hits(precision: float) -> int:
    """Hits of a word whose precision has a 95 % interval of `MARGIN` to either side."""
    spread = max(precision * (1 - precision), MARGIN * (1 - MARGIN))
    return math.ceil(1.96**2 * spread / MARGIN**2)
