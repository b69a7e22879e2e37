"""How well a cross-encoder tells relevant passages from others: loss, accuracy, F1 over pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.metrics import precision_recall_fscore_support as scores_at

from service.errors import InvalidInputError
from service.evaluation.pairs import best_accuracy


def classification_report(
    logits: ArrayLike, labels: Sequence[int], *, pos_weight: float = 1.0
) -> dict[str, float]:
    """Figures of logits, shape (n,), whose label is 1 (relevant) or 0.

    - `loss`: mean binary cross-entropy with logits, in nats, positives counted `pos_weight` times
      (torch's `BCEWithLogitsLoss`): mean(-w y log s(x) - (1 - y) log(1 - s(x)))
    - `accuracy`, `f1`, `precision`, `recall`: relevant from logit 0, probability 0.5, on
    - `ap`: average precision
    - `best_accuracy` and `best_threshold`: of a threshold fitted on these very labels

    Raises `InvalidInputError` where the labels are not 0 and 1, both present.
    """
    x, y = np.asarray(logits, np.float64), np.asarray(labels)
    if set(np.unique(y).tolist()) != {0, 1}:
        raise InvalidInputError("labels must be 0 and 1, and both must be there", "label")
    said = (x >= 0.0).astype(int)
    losses = np.where(y == 1, pos_weight * np.logaddexp(0.0, -x), np.logaddexp(0.0, x))
    accuracy, threshold = best_accuracy(x, y.tolist())
    precision, recall, f1, _ = scores_at(y, said, average="binary", zero_division=0)
    return {
        "pairs": len(y),
        "positive_share": float(y.mean()),
        "loss": float(losses.mean()),
        "accuracy": float(accuracy_score(y, said)),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "ap": float(average_precision_score(y, x)),
        "best_accuracy": accuracy,
        "best_threshold": threshold,
    }
