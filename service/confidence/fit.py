"""Fit a curve: from scores and labels to probabilities, by Platt scaling or isotonic regression."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import StratifiedGroupKFold

from service.confidence.calibration import Curve, Method, probabilities
from service.confidence.quality import expected_calibration_error
from service.errors import InvalidInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

FOLDS = 5
FEWEST_POSITIVE = 50
"""Relevant hits below which a curve is not fitted: its probabilities would be a guess."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve with what it was chosen by.

    `held_out`, shape (n,), are the rows' probabilities by curves that did not see their query;
    `losses` are (Brier score, log loss) of each method's held-out probabilities.
    """

    curve: Curve
    held_out: Floats
    losses: dict[Method, tuple[float, float]]


class _Shape(NamedTuple):
    slope: float
    intercept: float
    knots: tuple[tuple[float, float], ...] = ()


def fit_curve(
    scores: ArrayLike, labels: ArrayLike, queries: Sequence[str], weights: ArrayLike
) -> Fit:
    """The curve from `scores` (n,) to `labels` (n,), 1 for relevant, that fits unseen queries best.

    `queries` names each row's query: cross-validation (5 folds) never splits one. `weights` (n,)
    balances collections. Isotonic regression is taken where its held-out Brier score and its
    held-out log loss are both below those of Platt scaling, which is used otherwise, as it has two
    numbers to get wrong. Raises `InvalidInputError` for too few relevant rows or queries, and where
    a higher score is not likelier.
    """
    x, y = np.asarray(scores, float), np.asarray(labels, int)
    w = np.asarray(weights, float)
    _check(x, y, queries)
    platt = _platt(x, y, w)
    if platt.slope <= 0:
        raise InvalidInputError("on this data a higher score is not likelier to be relevant")
    held_out = _cross_validate(x, y, np.asarray(queries), w)
    losses = {
        # Kept away from 0 and 1, so that one sure mistake is not infinite.
        m: (float(brier_score_loss(y, p)), float(log_loss(y, np.clip(p, 1e-12, 1 - 1e-12))))
        for m, p in held_out.items()
    }
    isotonic = _isotonic(x, y, w, platt)
    better = all(i < p for i, p in zip(losses["isotonic"], losses["platt"], strict=True))
    method: Method = "isotonic" if better and isotonic.knots else "platt"
    shape = isotonic if method == "isotonic" else platt
    curve = Curve(
        method=method,
        **shape._asdict(),
        n=len(y),
        positive=int(y.sum()),
        ece=expected_calibration_error(held_out[method], y),
        brier=losses[method][0],
        log_loss=losses[method][1],
    )
    return Fit(curve, held_out[method], losses)


def _check(x: Floats, y: Ints, queries: Sequence[str]) -> None:
    positive = int(y.sum())
    if positive < FEWEST_POSITIVE:
        raise InvalidInputError(
            f"{positive} relevant hits are too few to calibrate on; "
            f"at least {FEWEST_POSITIVE} are needed"
        )
    if positive == len(y):
        raise InvalidInputError("every hit is relevant; a curve needs hits that are not, too")
    relevant = {query for query, label in zip(queries, y, strict=True) if label}
    if len(relevant) < FOLDS:
        raise InvalidInputError(
            f"the relevant hits belong to {len(relevant)} queries; {FOLDS} are needed at least, "
            "to test on queries that were not fitted on"
        )
    if not np.isfinite(x).all():
        raise InvalidInputError("a score is not finite")


def _cross_validate(
    x: Floats, y: Ints, queries: NDArray[np.str_], w: Floats
) -> dict[Method, Floats]:
    """Each method's probability of each row, by curves fitted on other queries."""
    held_out: dict[Method, Floats] = {"platt": np.zeros(len(x)), "isotonic": np.zeros(len(x))}
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    try:
        for train, test in folds.split(x, y, groups=queries):
            platt = _platt(x[train], y[train], w[train])
            held_out["platt"][test] = probabilities(x[test], *platt)
            isotonic = _isotonic(x[train], y[train], w[train], platt)
            held_out["isotonic"][test] = probabilities(x[test], *isotonic)
    except ValueError as error:  # scikit-learn's, of folds that lack one of the labels
        raise InvalidInputError(
            f"the labels cannot be cross-validated in {FOLDS} folds, more are needed: {error}"
        ) from error
    return held_out


def _platt(x: Floats, y: Ints, w: Floats) -> _Shape:
    """Slope and intercept; fitted on standardised scores, as cosines differ in the third digit."""
    mean, spread = float(x.mean()), float(x.std()) or 1.0
    model = LogisticRegression(C=1e4, max_iter=1000)
    with warnings.catch_warnings():
        # Labels that the score parts cleanly have no steepest curve; what was reached is steep.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(((x - mean) / spread)[:, None], y, sample_weight=w)
    slope = float(model.coef_[0, 0]) / spread
    return _Shape(slope, float(model.intercept_[0]) - slope * mean)


def _isotonic(x: Floats, y: Ints, w: Floats, platt: _Shape) -> _Shape:
    """`platt` with the centres of the isotonic regression's levels as knots, if it has several.

    A level where no row, or every row, is relevant means a probability of 0 or 1, which no
    number of labels shows: it is moved as if one more row of each kind had been seen in it.
    """
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    fitted = IsotonicRegression().fit(x, y[order], sample_weight=w).predict(x)
    edges = np.flatnonzero(np.diff(fitted) > 1e-12) + 1
    blocks = np.split(np.arange(len(x)), edges)
    if len(blocks) < 2 or platt.slope <= 0:
        return platt
    at = [float(np.average(x[rows], weights=w[rows])) for rows in blocks]
    level = [float(fitted[rows[0]]) for rows in blocks]
    if level[0] <= 0.0:
        level[0] = min(1 / (len(blocks[0]) + 2), level[1] / 2)
    if level[-1] >= 1.0:
        level[-1] = max(1 - 1 / (len(blocks[-1]) + 2), (1 + level[-2]) / 2)
    return _Shape(platt.slope, platt.intercept, tuple(zip(at, level, strict=True)))
