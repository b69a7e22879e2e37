"""The reranker's share in each language, chosen on labelled queries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import EVERY_LANGUAGE, MIXED
from service.evaluation.candidates import Observed
from service.evaluation.significance import FOLDS, difference_over, folds

SHARES = (*(round(0.05 * step, 2) for step in range(20)), 1.0)
"""Shares of the reranker that are tried: 0, 0.05 ... 0.95, and 1, which is the reranker alone."""

FEWEST_QUERIES = 20
"""Least queries of a language in one collection that count for its share."""

HARM = 0.003
"""Most nDCG@10 that a share may cost one collection."""


@dataclass(frozen=True, slots=True)
class Trial:
    """nDCG@10 with each share, on one collection's queries in one language.

    `ndcg` has shape (len(SHARES), len(queries)).
    """

    collection: str
    language: str
    queries: tuple[str, ...]
    ndcg: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """The share that a language gets.

    `tried` is the best share on all its queries. `gain` is the mean gain of nDCG@10 on held-out
    queries (cross-validated), with its 95 % interval `low` to `high`. `share` is `tried` if `low`
    is above 0, else 0.
    """

    language: str
    queries: int
    share: float
    tried: float
    gain: float
    low: float
    high: float


def try_shares(collections: Iterable[Observed], depth: int) -> list[Trial]:
    """Order the reranked candidates with each share, if a language has enough queries."""
    trials = []
    for collection in collections:
        by_language: dict[str, list[str]] = {}
        for query, search in sorted(collection.searches.items()):
            judged = any(grade > 0 for grade in collection.qrels.get(query, {}).values())
            if judged and len(search.answered.logits):
                by_language.setdefault(search.answered.language, []).append(query)
        for language, queries in sorted(by_language.items()):
            if len(queries) >= FEWEST_QUERIES:
                shares = ({language: share} for share in SHARES)
                tried = [collection.ndcg(queries, of.__getitem__, depth) for of in shares]
                ndcg = np.array([[values[query] for query in queries] for values in tried])
                trials.append(Trial(collection.name, language, tuple(queries), ndcg))
    return trials


def choose_shares(trials: Sequence[Trial], *, every_language: bool = False) -> list[Choice]:
    """One choice for each language, or one for all languages; mixed searches have their own.

    We pick the share with the best mean nDCG@10 over collections that costs no collection more than
    `HARM`. Ties go to the smaller share. The gain must hold on held-out queries: five times, the
    choice is made on four fifths of each collection's queries and measured on the last fifth.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        together = every_language and trial.language != MIXED
        groups.setdefault(EVERY_LANGUAGE if together else trial.language, []).append(trial)
    return [_choose(language, group) for language, group in sorted(groups.items())]


def shares_of(choices: Iterable[Choice]) -> dict[str, float]:
    """The artifact's shares: those above 0."""
    return {choice.language: choice.share for choice in choices if choice.share > 0.0}


def _choose(language: str, trials: Sequence[Trial]) -> Choice:
    tried = SHARES[_best([trial.ndcg for trial in trials])]
    parts = [folds(len(trial.queries)) for trial in trials]
    gains = [np.zeros(len(trial.queries)) for trial in trials]
    for fold in range(FOLDS):
        best = _best([t.ndcg[:, of != fold] for t, of in zip(trials, parts, strict=True)])
        for trial, of, gain in zip(trials, parts, gains, strict=True):
            gain[of == fold] = (trial.ndcg[best] - trial.ndcg[0])[of == fold]
    found = difference_over(gains)
    return Choice(
        language=language,
        queries=found["queries"],
        share=tried if found["low"] > 0.0 else 0.0,
        tried=tried,
        gain=found["mean"],
        low=found["low"],
        high=found["high"],
    )


def _best(ndcg: Sequence[NDArray[np.float64]]) -> int:
    """Index of the best share that harms no collection; the first one, 0, never does."""
    means = np.stack([values.mean(axis=1) for values in ndcg], axis=1)
    harmless = (means >= means[0] - HARM).all(axis=1)
    overall = np.where(harmless, means.mean(axis=1).round(6), -np.inf)
    return int(np.argmax(overall))
