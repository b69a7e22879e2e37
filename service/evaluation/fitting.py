"""Fits all parts of a calibration on labelled collections: shares, curves, words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.confidence.calibration import EVERY_LANGUAGE, MIXED, Ordering, WordThreshold
from service.errors import InvalidInputError
from service.evaluation.calibrating import Fitted, by_part, collect_hits, fit_curves, held_out
from service.evaluation.candidates import Observed
from service.evaluation.share_fit import Choice, Trial, choose_shares, shares_of, try_shares
from service.evaluation.word_thresholds import (
    find_thresholds,
    fit_thresholds,
    given_words,
    shortages,
    words_from,
)


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
    curves: Mapping[Ordering, Fitted]
    mixed: Mapping[Ordering, Fitted]
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
    curves = fit_curves(collect_hits(within, shares, options.depth))
    held = held_out(curves)
    given = given_words(held, options.high, options.medium)
    words = fit_thresholds(held, given, options.high, options.medium)
    figures = by_part(held, given)
    warnings = shortages(curves, words, figures["all"]["queries"])

    mixed, why_not = _mixed_curves([*within, *labels.across], shares, options.depth)
    if mixed:
        begin = find_thresholds(held, options.high, options.medium)
        across = held_out(mixed)  # none of these queries chose where words begin
        figures["across"] = by_part(across, words_from(begin, across))
        warnings += [f"across languages: {said}" for said in shortages(mixed, {}, 0)]
    return Fitting(trials, choices, shares, curves, mixed, words, figures, [*warnings, *why_not])


def _mixed_curves(
    collections: Sequence[Observed], shares: Mapping[str, float], depth: int
) -> tuple[dict[Ordering, Fitted], list[str]]:
    """Curves of searches across languages, or why there are none."""
    hits = collect_hits(collections, shares, depth, mixed=True)
    if not len(hits["retrieval"]):
        return {}, []
    try:
        return fit_curves(hits), []
    except InvalidInputError as error:
        return {}, [f"searches across languages stay uncalibrated: {error}"]
