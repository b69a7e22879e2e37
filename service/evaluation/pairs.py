"""Labelled pairs: do two sentences mean the same (bi-encoder), is a passage relevant (logits)?"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_curve,
)
from sklearn.metrics.pairwise import (
    paired_cosine_distances,
    paired_euclidean_distances,
    paired_manhattan_distances,
)

from service.datasets import LabelledPair, read_labelled_pairs, read_training_rows, rows_kind
from service.datasets.training_rows import as_pairs
from service.engine.build import build_encoder, build_reranker
from service.errors import InvalidInputError
from service.evaluation.logits import cached
from service.protocols import Encoder
from service.settings import Settings
from service.text.normalizer import clean
from service.types import PairScore

SIMILARITIES = ("cosine", "dot", "manhattan", "euclidean")
"""The last two are distances: low means alike."""

FIGURES = ("accuracy", "accuracy_threshold", "f1", "f1_threshold", "precision", "recall", "ap")

_DISTANCES = frozenset({"manhattan", "euclidean"})
_BATCH = 512
"""Sentences between two reports of progress."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thresholded:
    """Accuracy, F1, precision and recall (0 to 1) if a threshold decides which pairs are alike."""

    accuracy: float
    f1: float
    precision: float
    recall: float


def pair_vectors(
    encoder: Encoder,
    first: Sequence[str],
    second: Sequence[str],
    on_progress: Callable[[int], None] = lambda _n: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of both sides, each (n, dim): every sentence is encoded once, as a query."""
    texts = sorted({*first, *second})
    row = {text: number for number, text in enumerate(texts)}
    parts = []
    for start in range(0, len(texts), _BATCH):
        parts.append(encoder.encode_queries(texts[start : start + _BATCH]))
        on_progress(min(start + _BATCH, len(texts)))
    vectors = np.concatenate(parts) if parts else np.empty((0, encoder.identity.dimension), "f4")
    return vectors[[row[text] for text in first]], vectors[[row[text] for text in second]]


def pair_report(first: ArrayLike, second: ArrayLike, labels: Sequence[int]) -> dict[str, float]:
    """Figures of pairs by their vectors, shape (n, dim) each; label 1 means alike, 0 not.

    The keys are `<name>_<figure>` for each of `SIMILARITIES` and of `FIGURES`, as in
    sentence-transformers' BinaryClassificationEvaluator. Precision and recall are those at the F1
    threshold, `ap` is average precision, `max_<figure>` the highest of the four. Thresholds lie
    half-way between two pairs and are distances for `manhattan` and `euclidean`.

    Raises `InvalidInputError` unless the labels are 0 and 1, both present.
    """
    truth = _labels(labels)
    report: dict[str, float] = {}
    for name, scores in pair_scores(first, second).items():
        report |= {f"{name}_{key}": value for key, value in _figures(name, scores, truth).items()}
    for key in FIGURES:
        report[f"max_{key}"] = max(report[f"{name}_{key}"] for name in SIMILARITIES)
    return report


def pair_scores(first: ArrayLike, second: ArrayLike) -> dict[str, Floats]:
    """Each pair's similarity or distance by each of `SIMILARITIES`: arrays of shape (n,)."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return {
        "cosine": 1.0 - paired_cosine_distances(a, b),
        "dot": np.einsum("ij,ij->i", a, b),
        "manhattan": paired_manhattan_distances(a, b),
        "euclidean": paired_euclidean_distances(a, b),
    }


def at_threshold(
    name: str, scores: ArrayLike, labels: Sequence[int], threshold: float
) -> Thresholded:
    """The figures of a threshold that was found elsewhere; `name` is one of `SIMILARITIES`.

    A pair is alike if its similarity is at least the threshold, or its distance at most.
    """
    truth = _labels(labels)
    values = np.asarray(scores, np.float64)
    said = values <= threshold if name in _DISTANCES else values >= threshold
    return _at(said, truth)


def _at(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Thresholded:
    scores = precision_recall_fscore_support(truth, said, average="binary", zero_division=0)
    precision, recall, f1 = map(float, scores[:3])
    return Thresholded(float(accuracy_score(truth, said)), f1, precision, recall)


def best_accuracy(scores: ArrayLike, labels: Sequence[int]) -> tuple[float, float]:
    """The best accuracy of a threshold on scores (higher: label 1), and the threshold.

    Ties go to the highest threshold; `scores` has shape (n,).
    """
    values, truth = np.asarray(scores, np.float64), _labels(labels)
    positive, negative = int(truth.sum()), int((~truth).sum())
    wrong, right, thresholds = roc_curve(truth, values, drop_intermediate=False)
    correct = np.rint(right * positive + (1.0 - wrong) * negative)
    best = int(np.argmax(correct))
    if best == 0:  # nothing is label 1
        return negative / len(truth), float(np.nextafter(values.max(), np.inf))
    return float(correct[best]) / len(truth), _below(values, thresholds[best])


def classification_report(
    logits: ArrayLike, labels: Sequence[int], *, pos_weight: float = 1.0
) -> dict[str, float]:
    """Figures of logits, shape (n,), whose label is 1 (relevant) or 0.

    - `loss`: mean binary cross-entropy with logits, in nats, positives counted `pos_weight` times
      (torch's `BCEWithLogitsLoss`): mean(-w y log s(x) - (1 - y) log(1 - s(x)))
    - `accuracy`, `f1`, `precision`, `recall`: relevant from logit 0, probability 0.5, on
    - `ap`: average precision
    - `best_accuracy` and `best_threshold`: of a threshold fitted on these very labels

    Raises `InvalidInputError` unless the labels are 0 and 1, both present.
    """
    x, y = np.asarray(logits, np.float64), _labels(labels)
    at_zero = _at(x >= 0.0, y)
    losses = np.where(y, pos_weight * np.logaddexp(0.0, -x), np.logaddexp(0.0, x))
    accuracy, threshold = best_accuracy(x, labels)
    return {
        "pairs": len(y),
        "positive_share": float(y.mean()),
        "loss": float(losses.mean()),
        **asdict(at_zero),
        "ap": float(average_precision_score(y, x)),
        "best_accuracy": accuracy,
        "best_threshold": threshold,
    }


def _figures(name: str, scores: Floats, truth: NDArray[np.bool_]) -> dict[str, float]:
    sign = -1.0 if name in _DISTANCES else 1.0
    values = sign * scores
    accuracy, accuracy_threshold = best_accuracy(values, truth.astype(int).tolist())
    precision, recall, thresholds = precision_recall_curve(truth, values)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)[:-1]
    # Thresholds rise, so the last of equally good ones is the highest.
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return {
        "accuracy": accuracy,
        "accuracy_threshold": sign * accuracy_threshold,
        "f1": float(f1[best]),
        "f1_threshold": sign * _below(values, thresholds[best]),
        "precision": float(precision[best]),
        "recall": float(recall[best]),
        "ap": float(average_precision_score(truth, values)),
    }


def _below(values: Floats, threshold: float) -> float:
    lower = values[values < threshold].max(initial=-np.inf)
    middle = float(threshold + lower) / 2
    return middle if middle > lower else float(threshold)


def _labels(labels: Sequence[int]) -> NDArray[np.bool_]:
    values = np.asarray(labels)
    if set(np.unique(values).tolist()) != {0, 1}:
        raise InvalidInputError("labels must be 0 and 1, and both must be there", "label")
    truth: NDArray[np.bool_] = values.astype(bool)
    return truth


_SLICE = 64
"""Pairs that are scored between two reports of progress."""


def read_pairs(path: Path) -> list[LabelledPair]:
    """Labelled pairs of a file: as they are, or flattened from rows or triplets.

    A row gives a pair with label 1 for each positive and one with label 0 for each negative. Raises
    `InvalidInputError` as the readers do, and for a file with only one label.
    """
    if rows_kind(path) == "pairs":
        pairs = read_labelled_pairs(path)
    else:
        pairs = as_pairs(read_training_rows(path))
    if {pair.label for pair in pairs} != {0, 1}:
        raise InvalidInputError(f"{path}: needs pairs with label 1 and pairs with label 0", "label")
    return pairs


def evaluate_encoder(
    pairs: Sequence[LabelledPair],
    settings: Settings,
    learned_on: Sequence[LabelledPair] = (),
    on_progress: Callable[[int], None] = lambda _n: None,
) -> tuple[dict[str, Any], Floats]:
    """Figures of a bi-encoder on pairs (see `pair_report`), and each pair's cosine.

    `learned_on` are other pairs: with them the report has `at_learned_threshold`, each similarity's
    figures at the thresholds of best accuracy and best F1 on those pairs.
    """
    encoder = build_encoder(settings)

    def vectors(rows: Sequence[LabelledPair]) -> Any:
        first, second = [clean(row.first) for row in rows], [clean(row.second) for row in rows]
        return pair_vectors(encoder, first, second, on_progress)

    first, second = vectors(pairs)
    labels = [pair.label for pair in pairs]
    scores = pair_scores(first, second)
    report: dict[str, Any] = {
        "models": {"encoder": asdict(encoder.identity)},
        "pairs": len(pairs),
        "positive_share": sum(labels) / len(labels),
        "figures": pair_report(first, second, labels),
    }
    if learned_on:
        learned_first, learned_second = vectors(learned_on)
        learned = pair_report(learned_first, learned_second, [row.label for row in learned_on])
        report["at_learned_threshold"] = {
            name: {
                figure: {
                    "threshold": (threshold := learned[f"{name}_{figure}_threshold"]),
                    **asdict(at_threshold(name, scores[name], labels, threshold)),
                }
                for figure in ("accuracy", "f1")
            }
            for name in SIMILARITIES
        }
    return report, scores["cosine"]


def evaluate_cross_encoder(
    pairs: Sequence[LabelledPair],
    settings: Settings,
    pos_weight: float,
    on_progress: Callable[[int], None] = lambda _n: None,
) -> tuple[dict[str, Any], list[float]]:
    """Figures of a cross-encoder on pairs (see `classification_report`), and each pair's logit.

    Logits are kept under the cache folder. Raises `InvalidInputError` if there is no reranker.
    """
    opened = build_reranker(settings)
    if opened is None:
        raise InvalidInputError("--reranker: there is no cross-encoder to measure", "reranker")
    scores: list[PairScore] = []
    with cached(opened, settings) as reranker:
        for start in range(0, len(pairs), _SLICE):
            part = pairs[start : start + _SLICE]
            scores += reranker.score_pairs(
                [(clean(pair.first), clean(pair.second)) for pair in part]
            )
            on_progress(len(scores))
    logits = [score.logit for score in scores]
    labels = [pair.label for pair in pairs]
    report = {
        "models": {
            "reranker": {"model": reranker.model, "weights_sha256": reranker.weights_sha256}
        },
        "pos_weight": pos_weight,
        "cut": sum(score.truncated for score in scores),
        "figures": classification_report(logits, labels, pos_weight=pos_weight),
    }
    return report, logits
