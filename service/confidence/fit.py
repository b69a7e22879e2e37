"""Fit a calibration: how much the reranker counts per language, and Platt curves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from service.confidence.calibration import Curve
from service.confidence.quality import brier_score, expected_calibration_error
from service.errors import InvalidInputError

FOLDS = 5
FEWEST_POSITIVE = 50
"""Relevant hits below which a curve is not fitted: its probabilities would be a guess."""


def fit_curve(
    scores: ArrayLike, labels: ArrayLike, queries: Sequence[str], weights: ArrayLike
) -> Curve:
    """Platt scaling of `scores` (n,) on `labels` (n,), 1 for relevant.

    `queries` names each row's query, so that cross-validation (5 folds) never splits one; ECE and
    Brier score are of the held-out folds. `weights` (n,) balances collections. Raises
    `InvalidInputError` for too few relevant rows, or where a higher score is not likelier.
    """
    x, y = np.asarray(scores, float), np.asarray(labels, int)
    w = np.asarray(weights, float)
    if y.sum() < FEWEST_POSITIVE:
        raise InvalidInputError(
            f"{int(y.sum())} relevant hits are too few to calibrate on; "
            f"at least {FEWEST_POSITIVE} are needed"
        )
    held_out = np.zeros(len(x))
    for train, test in GroupKFold(FOLDS).split(x, y, groups=np.asarray(queries)):
        slope, intercept = _logistic(x[train], y[train], w[train])
        held_out[test] = 1.0 / (1.0 + np.exp(-(slope * x[test] + intercept)))
    slope, intercept = _logistic(x, y, w)
    if slope <= 0:
        raise InvalidInputError("on this data a higher score is not likelier to be relevant")
    return Curve(
        slope=slope,
        intercept=intercept,
        n=len(y),
        positive=int(y.sum()),
        ece=expected_calibration_error(held_out, y),
        brier=brier_score(held_out, y),
    )


def _logistic(
    x: NDArray[np.float64], y: NDArray[np.int_], w: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept; fitted on standardised scores, as cosines differ in the third digit."""
    mean, spread = float(x.mean()), float(x.std()) or 1.0
    model = LogisticRegression(C=1e4, max_iter=1000)
    model.fit(((x - mean) / spread)[:, None], y, sample_weight=w)
    slope = float(model.coef_[0, 0]) / spread
    return slope, float(model.intercept_[0]) - slope * mean
