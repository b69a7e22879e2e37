"""Fits all parts of a calibration on labelled collections: shares, curves, words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import EVERY_LANGUAGE, MIXED, Ordering, WordThreshold
from service.errors import InvalidInputError
from service.evaluation import calibrating
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


@dataclass(frozen=True, slots=True)
class Labels:
    """Observed collections, by what they count for.

    `reranked` count for everything, `by_cosine` for the cosine's curve and the words, `for_shares`
    for the shares only. In `across`, only searches whose query and passages differ in language
    count.
    """

    reranked: Sequence[Observed]
    by_cosine: Sequence[Observed] = ()
    for_shares: Sequence[Observed] = ()
    across: Sequence[Observed] = ()


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What is given: `share` is the reranker's within a language, None for the best.

    `high` and `medium` are the words' precisions; candidates below `depth` are not reranked.
    """

    depth: int = 100
    share: float | None = None
    every_language: bool = False
    high: float = 0.8
    medium: float = 0.5


@dataclass(frozen=True, slots=True)
class Fitting:
    """Shares, curves and words, with what they were chosen by and how good they are.

    `mixed` are the curves of searches across languages, empty if labels had none or too few.
    `figures` are from `by_part`, with those of mixed searches under `across`. `warnings` say what
    the labels are too few for.
    """

    trials: Sequence[Trial]
    choices: Sequence[Choice]
    shares: Mapping[str, float]
    curves: Mapping[Ordering, calibrating.Fitted]
    mixed: Mapping[Ordering, calibrating.Fitted]
    words: Mapping[str, WordThreshold]
    figures: Mapping[str, Any]
    warnings: Sequence[str]


def fit(labels: Labels, options: FitOptions) -> Fitting:
    """Choose shares, fit curves, find words; raises `InvalidInputError` if labels are too few.

    Labels across languages do not change what is fitted within a language. They get curves of their
    own; their words begin at the same probabilities.
    """
    trials = try_shares([*labels.reranked, *labels.for_shares], options.depth)
    trials += [t for t in try_shares(labels.across, options.depth) if t.language == MIXED]
    choices = choose_shares(trials, every_language=options.every_language)
    if options.share is not None:
        choices = [choice for choice in choices if choice.language == MIXED]
    stated = {} if options.share is None else {EVERY_LANGUAGE: options.share}
    shares = stated | shares_of(choices)

    within = [*labels.reranked, *labels.by_cosine]
    curves = calibrating.fit_curves(calibrating.collect_hits(within, shares, options.depth))
    held = calibrating.held_out(curves)
    given = calibrating.given_words(held, options.high, options.medium)
    words = calibrating.fit_thresholds(held, given, options.high, options.medium)
    figures = calibrating.by_part(held, given)
    warnings = calibrating.shortages(curves, words, figures["all"]["queries"])

    mixed, why_not = _mixed_curves([*within, *labels.across], shares, options.depth)
    if mixed:
        begin = calibrating.find_thresholds(held, options.high, options.medium)
        across = calibrating.held_out(mixed)  # none of these queries chose where words begin
        figures["across"] = calibrating.by_part(across, calibrating.words_from(begin, across))
        warnings += [f"across languages: {said}" for said in calibrating.shortages(mixed, {}, 0)]
    return Fitting(trials, choices, shares, curves, mixed, words, figures, [*warnings, *why_not])


def _mixed_curves(
    collections: Sequence[Observed], shares: Mapping[str, float], depth: int
) -> tuple[dict[Ordering, calibrating.Fitted], list[str]]:
    hits = calibrating.collect_hits(collections, shares, depth, mixed=True)
    if not len(hits["retrieval"]):
        return {}, []
    try:
        return calibrating.fit_curves(hits), []
    except InvalidInputError as error:
        return {}, [f"searches across languages stay uncalibrated: {error}"]
