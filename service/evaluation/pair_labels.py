"""`evaluate pairs` and `evaluate crossencoder`: models over files of labelled pairs of texts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.datasets import LabelledPair, read_labelled_pairs, read_training_rows, rows_kind
from service.engine.build import build_encoder, build_reranker
from service.errors import InvalidInputError
from service.evaluation.logits import cached
from service.evaluation.pairs import (
    SIMILARITIES,
    Floats,
    at_threshold,
    classification_report,
    pair_report,
    pair_scores,
    pair_vectors,
)
from service.settings import Settings
from service.text.normalizer import clean
from service.types import PairScore

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
        pairs = [
            LabelledPair(row.query, passage, label)
            for row in read_training_rows(path)
            for passages, label in ((row.positives, 1), (row.negatives, 0))
            for passage in passages
        ]
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
