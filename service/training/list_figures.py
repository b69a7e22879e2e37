"""How well a model orders the passages of test queries: all of them, or the nearest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from service.confidence.ranking import rank
from service.evaluation.measures import means, per_query
from service.training.losses.ranked_list import RankedListLoss
from service.training.mining.choice import Choice
from service.training.mining.examples import Examples
from service.training.mining.rankings import Encode, rank_dense
from service.types import Vectors

CANDIDATES = 20
"""Number of passages, the nearest of their sample, that test queries are judged on."""

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


def order_figures(
    right: Sequence[Sequence[int]],
    orders: Iterable[Iterable[int]],
    measures: Sequence[str] = ("ndcg@10", "accuracy@1"),
) -> dict[str, float]:
    """Means over queries, from the places of each one's right passages and its order of places."""
    qrels = {str(n): {str(place): 1 for place in places} for n, places in enumerate(right)}
    run = {str(n): [str(place) for place in order] for n, order in enumerate(orders)}
    return means(per_query(qrels, run, measures))


def retrieval_figures(
    test: Iterable[Examples], encode_queries: Encode, encode_passages: Encode, measure: str
) -> dict[str, float]:
    """One measure of the test queries of each collection that has any, over all its passages."""
    figures = {}
    for examples in test:
        if examples.queries:
            passages = encode_passages(examples.passages)
            found = rank_dense(
                encode_queries(examples.queries), passages, examples, Choice(rank_max=10)
            )
            values = order_figures(examples.positives, (row.places for row in found), [measure])
            figures[f"{examples.name} {measure}"] = values[measure]
    return figures


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
    by_query = np.split(logits.cpu().numpy(), np.cumsum([len(row.passages) for row in test])[:-1])
    figures: dict[str, float] = {}
    for name, share in (("", 1.0), (f" fused {_FUSED}", _FUSED), (" of the cosine", 0.0)):
        orders = (
            rank([(str(p), p) for p in row.places.tolist()], row.cosines, found, share).places
            for row, found in zip(test, by_query, strict=True)
        )
        measured = order_figures(
            [row.right for row in test],
            (row.places[order] for row, order in zip(test, orders, strict=True)),
        )
        figures |= {f"{key}{name}": value for key, value in measured.items()}
    return figures
