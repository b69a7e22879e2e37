"""Adjust a fitted curve to few labels: shift and scale its log odds, held back by a prior.

A free fit of ten labels would say what chance said. Here the curve's log odds become
`shift + scale * log odds`. The prior says that the curve is about right, and labels move it as far
as they can: the estimate is the posterior's mode, its spread the curvature there (Laplace).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, log_loss

from service.confidence.calibration import Adjustment, Curve
from service.confidence.quality import expected_calibration_error
from service.errors import InvalidInputError

Floats = NDArray[np.float64]

FEWEST_JUDGED = 10
"""Judged hits below which nothing is adjusted."""

SHIFT_SPREAD, SCALE_SPREAD = 1.5, 0.5
"""Standard deviations of the prior: of the shift, and of the logarithm of the scale."""

ALIKE = 0.1
"""How alike the hits of one query are (intraclass correlation): ten of them tell about as much as
five of different queries."""

_FOLDS = 5
_MOST_ODDS = 10.0
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A curve with what was learned about it.

    `held_out`, shape (n,), are the rows' probabilities by curves that did not see their query.
    `losses` are the log losses of the rows: by the curve as it was, and held out.
    """

    curve: Curve
    adjustment: Adjustment
    held_out: Floats
    losses: tuple[float, float]

    def now(self, probability: float) -> tuple[float, float, float]:
        """What becomes of a probability of the old curve, with its 95 % interval."""
        return _moved(self.adjustment, probability)


def adjust_curve(
    base: Curve, scores: ArrayLike, labels: ArrayLike, queries: Sequence[str]
) -> Adjusted:
    """`base`, moved towards `labels` (n,), 1 for relevant, of hits with these `scores` (n,).

    `queries` names each row's query: hits of one query count for less, as they are alike. Raises
    `InvalidInputError` for too few rows, and where all are relevant or none.
    """
    x, y, of = np.asarray(scores, float), np.asarray(labels, int), np.asarray(queries)
    _check(x, y)
    odds = _log_odds(base, x)
    mean, covariance = _fit(odds, y, of)
    shift, scale = float(mean[0]), float(np.exp(mean[1]))
    held_out = _cross_validate(odds, y, of)
    spread = np.sqrt(np.diag(covariance))
    adjustment = Adjustment(
        shift=shift,
        shift_low=shift - _Z * float(spread[0]),
        shift_high=shift + _Z * float(spread[0]),
        scale=scale,
        scale_low=float(np.exp(mean[1] - _Z * spread[1])),
        scale_high=float(np.exp(mean[1] + _Z * spread[1])),
        together=float(covariance[0, 1]),
        hits=len(y),
        queries=len(set(queries)),
    )
    curve = Curve(
        method=base.method,
        slope=scale * base.slope,
        intercept=shift + scale * base.intercept,
        knots=_moved_knots(base, shift, scale),
        n=len(y),
        positive=int(y.sum()),
        ece=expected_calibration_error(held_out, y),
        brier=float(brier_score_loss(y, held_out)),
        log_loss=float(log_loss(y, held_out)),
    )
    before = float(log_loss(y, expit(odds)))
    return Adjusted(curve, adjustment, held_out, (before, float(log_loss(y, held_out))))


def _check(x: Floats, y: NDArray[np.int_]) -> None:
    if len(y) < FEWEST_JUDGED:
        raise InvalidInputError(
            f"{len(y)} judged hits are too few to calibrate on; at least {FEWEST_JUDGED} are needed"
        )
    if y.min() == y.max():
        other = "not relevant" if y.min() else "relevant"
        raise InvalidInputError(f"no judged hit is {other}; calibration needs both kinds")
    if not np.isfinite(x).all():
        raise InvalidInputError("a score is not finite")


def _log_odds(base: Curve, x: Floats) -> Floats:
    found: Floats = np.clip(logit(np.array(base.probability(x.tolist()))), -_MOST_ODDS, _MOST_ODDS)
    return found


def _fit(odds: Floats, y: NDArray[np.int_], of: NDArray[np.str_]) -> tuple[Floats, Floats]:
    """The mode of (shift, log scale), shape (2,), and its covariance, (2, 2)."""
    _, counts = np.unique(of, return_counts=True)
    per_query = float((counts**2).sum() / counts.sum()) if len(counts) else 1.0
    weight = 1.0 / (1.0 + (per_query - 1.0) * ALIKE)  # the design effect of clustered samples
    precision = np.array([SHIFT_SPREAD**-2, SCALE_SPREAD**-2])

    def loss(at: Floats) -> tuple[float, Floats]:
        scale = np.exp(at[1])
        eta = at[0] + scale * odds
        wrong = expit(eta) - y
        value = weight * np.sum(np.logaddexp(0.0, eta) - y * eta) + 0.5 * np.sum(precision * at**2)
        slope = weight * np.array([wrong.sum(), np.sum(wrong * scale * odds)]) + precision * at
        return float(value), slope

    found: Floats = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    scale = np.exp(found[1])
    p = expit(found[0] + scale * odds)
    rows = np.stack([np.ones_like(odds), scale * odds])
    information = weight * (rows * (p * (1 - p))) @ rows.T + np.diag(precision)
    return found, np.linalg.inv(information)


def _cross_validate(odds: Floats, y: NDArray[np.int_], of: NDArray[np.str_]) -> Floats:
    """Each row's probability by a fit without its query; without its hit if there is one query."""
    names, groups = np.unique(of, return_inverse=True)
    if len(names) < 2:
        groups = np.arange(len(y))
    fold = groups % _FOLDS
    held_out = np.zeros(len(y))
    for number in np.unique(fold):
        test = fold == number
        at, _ = _fit(odds[~test], y[~test], of[~test])
        held_out[test] = expit(at[0] + np.exp(at[1]) * odds[test])
    return np.clip(held_out, 1e-12, 1 - 1e-12)


def _moved_knots(base: Curve, shift: float, scale: float) -> tuple[tuple[float, float], ...]:
    moved = [(x, float(expit(shift + scale * logit(p)))) for x, p in base.knots]
    # Rounding may join two knots near 0 or 1, and a curve has to rise.
    kept: list[tuple[float, float]] = []
    for x, p in moved:
        if 0.0 < p < 1.0 and (not kept or p > kept[-1][1]):
            kept.append((x, p))
    return tuple(kept)


def _moved(by: Adjustment, probability: float) -> tuple[float, float, float]:
    odds = float(np.clip(logit(probability), -_MOST_ODDS, _MOST_ODDS))
    at = by.shift + by.scale * odds
    shift_spread = (by.shift_high - by.shift) / _Z
    scale_spread = np.log(by.scale_high / by.scale) / _Z * by.scale * odds
    variance = shift_spread**2 + scale_spread**2 + 2 * by.together * by.scale * odds
    reach = _Z * float(np.sqrt(max(0.0, variance)))
    return float(expit(at)), float(expit(at - reach)), float(expit(at + reach))
