"""Test queries of a cross-encoder, and how well it orders their nearest passages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.confidence.ranking import rank
from service.evaluation.metrics import means, per_query
from service.training.losses.ranked_list import RankedListLoss
from service.training.mining.examples import Examples
from service.types import Vectors

CANDIDATES = 20
"""Test queries are judged on so many passages, the nearest of their sample."""

_FUSED = 0.3
"""The share that figures are also given for."""

_JUDGED_AT_ONCE = 32
"""Pairs of test queries that go through the model together."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """A test query with its nearest passages, nearest first; places are those in the sample.

    What is right may be missing among the nearest, and is then found by no order.
    """

    query: str
    passages: tuple[str, ...]
    places: NDArray[np.int64]
    right: tuple[int, ...]
    cosines: NDArray[np.float32]


def judged_candidates(
    samples: Sequence[Examples],
    vectors: Sequence[tuple[Vectors, Vectors]],
    is_test: Callable[[str], bool],
) -> list[Candidates]:
    """Of each sample's test queries, with the samples' vectors of queries and passages."""
    found = []
    for sample, (queries, passages) in zip(samples, vectors, strict=True):
        for number, query in enumerate(sample.queries):
            if not is_test(query):
                continue
            cosines = passages @ queries[number]
            nearest = np.argsort(-cosines, kind="stable")[:CANDIDATES]
            texts = tuple(sample.passages[place] for place in nearest)
            right = sample.positives[number]
            found.append(Candidates(query, texts, nearest, right, cosines[nearest]))
    return found


def list_figures(loss: RankedListLoss, test: Sequence[Candidates]) -> Mapping[str, float]:
    """Figures of the model alone, of a fused order and of the cosine, on the same candidates."""
    if not test:
        return {}
    pairs = [(row.query, passage) for row in test for passage in row.passages]
    training = loss.model.training
    loss.model.eval()
    with torch.inference_mode():
        logits = loss.logits(pairs, at_once=_JUDGED_AT_ONCE)
    loss.model.train(training)
    orders = [
        ("", logits, 1.0),
        (f" fused {_FUSED}", logits, _FUSED),
        (" of the cosine", logits, 0.0),
    ]
    figures: dict[str, float] = {}
    for name, found, share in orders:
        figures |= {f"{key}{name}": value for key, value in _measured(test, found, share).items()}
    return figures


def _measured(test: Sequence[Candidates], logits: Tensor, share: float) -> Mapping[str, float]:
    ends = np.cumsum([len(row.passages) for row in test])[:-1]
    by_query = np.split(logits.cpu().numpy(), ends)
    qrels = {str(n): {str(place): 1 for place in row.right} for n, row in enumerate(test)}
    run = {
        str(n): [str(row.places[i]) for i in _order(row, found, share)]
        for n, (row, found) in enumerate(zip(test, by_query, strict=True))
    }
    found_means = means(per_query(qrels, run))
    return {key: found_means[key] for key in ("ndcg@10", "accuracy@1")}


def _order(row: Candidates, logits: NDArray[np.float32], share: float) -> list[int]:
    ids = [(str(place), place) for place in row.places.tolist()]
    return rank(ids, row.cosines, logits, share).places
