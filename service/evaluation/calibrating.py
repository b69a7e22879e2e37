"""Curves from scores to probabilities and the words that they carry, fitted on labelled queries."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import MIXED, Ordering, WordThreshold, share_in
from service.confidence.fit import FEWEST_POSITIVE, Fit, fit_curve
from service.confidence.judge import Thresholds
from service.confidence.quality import quality, reliability, tally, threshold_for
from service.errors import InvalidInputError
from service.evaluation.candidates import Observed
from service.evaluation.report import SHOWN_HITS
from service.evaluation.significance import FOLDS, folds

HIT = np.dtype([
    ("score", "f8"), ("probability", "f8"), ("label", "?"), ("query", "O"), ("collection", "O"),
    ("answered", "?"), ("served", "?"),
])  # fmt: skip
"""A hit as a row for a fit.

The curve reads `score`; `probability` comes from a curve that did not see its query. `answered` is
false if the query's relevant documents were taken out, `served` if the service would show the hit
in another ordering.
"""

Hits = NDArray[np.void]
"""Rows of the type `HIT`, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A curve with the hits that it was fitted on."""

    fit: Fit
    hits: Hits


def collect_hits(
    collections: Iterable[Observed],
    shares: Mapping[str, float],
    depth: int,
    *,
    mixed: bool = False,
    judged: bool = False,
) -> dict[Ordering, Hits]:
    """The first hits of each query in each ordering that its language may be served in.

    Each query counts twice: with all candidates, and without its relevant documents, as a query
    that nothing here answers. `shares` is as in an artifact. Only searches within a language are
    collected, or with `mixed` only those whose query and passages differ in language. With `judged`
    a query counts once, with those of all its hits that have a grade: where people label a few
    hits, the others are no evidence.
    """
    rows: dict[Ordering, list[tuple[object, ...]]] = {"retrieval": []}
    for collection in collections:
        for query, search in sorted(collection.searches.items()):
            name = f"{collection.name}/{query}"
            for found in (search.answered,) if judged else (search.answered, search.unanswered):
                if (found.language == MIXED) != mixed:
                    continue
                share, answered = share_in(shares, found.language), found is search.answered
                for weight in sorted({0.0, share}):
                    ordered = found.ranked(weight, depth)
                    if weight > 0.0 and ordered.ordering == "retrieval":
                        continue  # not reranked
                    of = rows.setdefault(ordered.ordering, [])
                    about = (name, collection.name, answered, weight == share)
                    scores = ordered.basis[: None if judged else SHOWN_HITS].tolist()
                    for score, place in zip(scores, ordered.places, strict=False):
                        document = found.documents[place]
                        if judged and document not in collection.qrels.get(query, {}):
                            continue
                        relevant = collection.is_relevant(query, document)
                        of.append((score, math.nan, relevant, *about))
    return {ordering: np.array(of, HIT) for ordering, of in rows.items()}


def fit_curves(hits: Mapping[Ordering, Hits]) -> dict[Ordering, Fitted]:
    """A curve for each ordering; collections weigh alike.

    Raises `InvalidInputError`, which says how many more queries a curve needs.
    """
    fitted: dict[Ordering, Fitted] = {}
    for ordering, of in hits.items():
        _, places, counts = np.unique(of["collection"], return_inverse=True, return_counts=True)
        weights = (len(of) / counts / len(counts))[places]  # their mean is 1
        try:
            fit = fit_curve(of["score"], of["label"], of["query"].tolist(), weights)
        except InvalidInputError as error:
            raise InvalidInputError(f"curve {ordering!r}: {error}{_hint(of)}") from error
        judged = of.copy()
        judged["probability"] = fit.held_out
        fitted[ordering] = Fitted(fit, judged)
    return fitted


def _hint(hits: Hits) -> str:
    positive, queries = int(hits["label"].sum()), len(set(hits["query"]))
    if not 0 < positive < FEWEST_POSITIVE:
        return ""
    needed = math.ceil(queries * FEWEST_POSITIVE / positive)
    return (
        f" (some {needed} queries like these {queries}; what was scored is kept, so that a run "
        "with more queries goes on from here)"
    )


def held_out(fitted: Mapping[Ordering, Fitted]) -> Hits:
    """The hits that would be served, each with its held-out probability."""
    return np.concatenate([one.hits[one.hits["served"]] for one in fitted.values()])


def confidence(held: Hits, given: NDArray[np.str_]) -> dict[str, Any]:
    """ECE, Brier score, reliability and each word's precision and coverage, as in a report.

    `given`, shape (n,), is each hit's word, by thresholds found without its query.
    """
    p, y, queries = held["probability"], held["label"], len(set(held["query"]))
    report = quality(p, y, given)
    for word, row in report["words"].items():
        # A query counts if a hit of its full answer has the word; the emptied one does not count.
        having = set(held["query"][(given == word) & held["answered"]])
        row["queries"] = len(having) / max(1, queries)
    return {
        **report,
        "relevant": int(y.sum()),
        "queries": queries,
        "reliability": reliability(p, y),
    }


def by_part(held: Hits, given: NDArray[np.str_]) -> dict[str, Any]:
    """`confidence` of all hits, of those of unchanged answers, and of these per collection.

    `answered` is what `secondpass evaluate` measures; `all` also has the emptied answers.
    """
    answered, collections = held["answered"], held["collection"]

    def part(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return confidence(held[rows], given[rows])

    names = sorted(set(collections[answered]))
    return {
        "all": confidence(held, given),
        "answered": part(answered),
        "collections": {name: part(answered & (collections == name)) for name in names},
    }


ENOUGH_POSITIVE = 200
"""Relevant hits from which a curve is reliable: Van Calster et al., "A Calibration Hierarchy for
Risk Models", Journal of Clinical Epidemiology 2016."""

LOWEST_HIGH, LOWEST_MEDIUM = 0.5, 0.25
"""Least probabilities at which a word may begin, however sure its other hits are."""

MARGIN = 0.05
"""A word's precision is known well enough if its interval reaches this far to either side."""


def find_thresholds(held: Hits, high: float, medium: float) -> Thresholds:
    """Where `high` and `medium` begin, so that each word's own hits have the stated precision.

    Neither begins below its least probability: otherwise many sure hits would carry unlikely ones.
    A word that no probability reaches begins at infinity.
    """
    p, y = held["probability"], held["label"]
    likely = p >= min(LOWEST_HIGH, high)
    from_high = threshold_for(p[likely], y[likely], high)
    between = (p >= min(LOWEST_MEDIUM, medium)) & (p < from_high)
    return Thresholds(from_high, threshold_for(p[between], y[between], medium))


def given_words(held: Hits, high: float, medium: float) -> NDArray[np.str_]:
    """Each hit's word, shape (n,), by thresholds that were found on four fifths of the queries.

    Its own query is in the other fifth. On the hits that chose a threshold, the precision would be
    the stated one by construction.
    """
    names, of = np.unique(held["query"], return_inverse=True)
    fold = folds(len(names))[of]
    words = np.full(len(of), "low", dtype="<U6")
    for number in range(FOLDS):
        test = fold == number
        found = find_thresholds(held[~test], high, medium)
        words[test] = words_from(found, held[test])
    return words


def words_from(thresholds: Thresholds, held: Hits) -> NDArray[np.str_]:
    """Each hit's word, shape (n,), by thresholds found without these queries."""
    return np.array([thresholds.word(value) for value in held["probability"].tolist()], str)


def fit_thresholds(
    held: Hits, given: NDArray[np.str_], high: float, medium: float
) -> dict[str, WordThreshold]:
    """The thresholds found on all queries, each with the precision that `given_words` gives."""
    found = find_thresholds(held, high, medium)
    worth = tally(given, held["label"])
    stated = {"high": (high, found.high), "medium": (medium, found.medium)}
    return {
        word: WordThreshold(
            **{**worth[word], "precision": precision},
            found=worth[word]["precision"],
            probability=None if math.isinf(threshold) else threshold,
        )
        for word, (precision, threshold) in stated.items()
    }


def shortages(
    fitted: Mapping[Ordering, Fitted], thresholds: Mapping[str, WordThreshold], queries: int
) -> list[str]:
    """What the labels are too few for, and how many are enough, one sentence each."""
    said = []
    for ordering, one in fitted.items():
        positive = one.fit.curve.positive
        if positive < ENOUGH_POSITIVE:
            of = len(set(one.hits["query"]))
            said.append(
                f"curve {ordering!r} rests on {positive} relevant hits; {ENOUGH_POSITIVE} are "
                f"enough, some {math.ceil(of * ENOUGH_POSITIVE / positive)} queries like these {of}"
            )
    for word, threshold in thresholds.items():
        stated = f"{word!r} with a precision of {threshold.precision:g}"
        if threshold.probability is None or not threshold.n:
            said.append(f"no probability gives {stated}: the word is never used")
            continue
        enough = enough_hits(threshold.precision)
        if threshold.n < enough:
            more = math.ceil(queries * enough / threshold.n)
            said.append(
                f"{stated} rests on {threshold.n} hits (interval {threshold.low:.2f} to "
                f"{threshold.high:.2f}); {enough} are enough for {MARGIN:g} to either side, some "
                f"{more} queries like these {queries}"
            )
    return said


def enough_hits(precision: float) -> int:
    """Hits of a word whose precision has a 95 % interval of `MARGIN` to either side."""
    spread = max(precision * (1 - precision), MARGIN * (1 - MARGIN))
    return math.ceil(1.96**2 * spread / MARGIN**2)
