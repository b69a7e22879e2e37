"""Curves and thresholds out of labelled queries: what a hit's score is worth, and its word."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import MIXED, Ordering, WordThreshold, share_in
from service.confidence.fit import FEWEST_POSITIVE, Fit, fit_curve
from service.confidence.quality import (
    brier_score,
    expected_calibration_error,
    reliability,
    threshold_for,
    words,
)
from service.confidence.words import Thresholds
from service.errors import InvalidInputError
from service.evaluation.candidates import Candidates, Observed, served
from service.evaluation.report import SHOWN_HITS

ENOUGH_POSITIVE = 200
"""Relevant hits from which a curve is reliable: Van Calster et al., "A Calibration Hierarchy for
Risk Models", Journal of Clinical Epidemiology 2016."""

LOWEST_HIGH, LOWEST_MEDIUM = 0.5, 0.25
"""Probabilities below which a word does not begin, however sure its other hits are."""

MARGIN = 0.05
"""A word's precision is known well enough where its interval is this wide to either side."""


@dataclass(slots=True)
class Rows:
    """Hits as rows for a fit, all in one ordering.

    `answered` is False for hits of a query whose relevant documents were taken out, `served` for
    hits that the service would show in another ordering.
    """

    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    collections: list[str] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)
    served: list[bool] = field(default_factory=list)

    def weights(self) -> list[float]:
        """Each row's weight: collections weigh alike, and the mean is 1."""
        names, counts = np.unique(self.collections, return_counts=True)
        share = dict(zip(names.tolist(), len(self.scores) / counts / len(names), strict=True))
        return [float(share[name]) for name in self.collections]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A curve with the rows that it was fitted on."""

    fit: Fit
    rows: Rows


@dataclass(frozen=True, slots=True)
class Held:
    """Hits as they would be served, with probabilities of curves that did not see their query.

    All arrays have shape (n,).
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.bool_]
    queries: NDArray[np.str_]
    collections: NDArray[np.str_]
    answered: NDArray[np.bool_]

    def only(self, rows: NDArray[np.bool_]) -> "Held":
        """Some of the hits."""
        return Held(
            self.probabilities[rows],
            self.labels[rows],
            self.queries[rows],
            self.collections[rows],
            self.answered[rows],
        )


def collect_rows(
    collections: Iterable[Observed], shares: Mapping[str, float], depth: int
) -> dict[Ordering, Rows]:
    """The first hits of each query in each ordering that its language may be served in.

    Each query counts twice: with what was found, and as a query that nothing here answers, from
    candidates without its relevant documents. `shares` is as an artifact's. Mixed searches without
    a share are left out: they are served uncalibrated.
    """
    rows: dict[Ordering, Rows] = {"retrieval": Rows()}
    for collection in collections:
        for query, search in sorted(collection.searches.items()):
            for candidates in (search.answered, search.unanswered):
                answered = candidates is search.answered
                share = share_in(shares, candidates.language)
                if share > 0.0 and len(candidates.logits):
                    ordering: Ordering = "rerank" if share >= 1.0 else "fused"
                    into = rows.setdefault(ordering, Rows())
                    _add(into, collection, query, candidates, share, depth, answered, True)
                if candidates.language != MIXED:
                    is_served = share == 0.0
                    into = rows["retrieval"]
                    _add(into, collection, query, candidates, 0.0, depth, answered, is_served)
    return rows


def _add(
    rows: Rows,
    collection: Observed,
    query: str,
    candidates: Candidates,
    share: float,
    depth: int,
    answered: bool,
    is_served: bool,
) -> None:
    for document, score, reranked in served(candidates, share, depth)[:SHOWN_HITS]:
        if share > 0.0 and not reranked:
            break  # beyond the depth: served without a probability
        rows.scores.append(score)
        rows.labels.append(collection.is_relevant(query, document))
        rows.queries.append(f"{collection.name}/{query}")
        rows.collections.append(collection.name)
        rows.answered.append(answered)
        rows.served.append(is_served)


def fit_curves(rows: Mapping[Ordering, Rows]) -> dict[Ordering, Fitted]:
    """A curve for each ordering; `InvalidInputError` says how many more queries one needs."""
    fitted: dict[Ordering, Fitted] = {}
    for ordering, of in rows.items():
        try:
            fit = fit_curve(of.scores, of.labels, of.queries, of.weights())
        except InvalidInputError as error:
            raise InvalidInputError(f"curve {ordering!r}: {error}{_hint(of)}") from error
        fitted[ordering] = Fitted(fit, of)
    return fitted


def _hint(rows: Rows) -> str:
    positive, queries = sum(rows.labels), len(set(rows.queries))
    if 0 < positive < FEWEST_POSITIVE:
        needed = math.ceil(queries * FEWEST_POSITIVE / positive)
        return (
            f" (some {needed} queries like these {queries}; what was scored is kept, so that a run "
            "with more queries goes on from here)"
        )
    return ""


def held_out(fitted: Mapping[Ordering, Fitted]) -> Held:
    """The hits that would be served, each with its held-out probability."""
    parts = []
    for one in fitted.values():
        whole = Held(
            one.fit.held_out,
            np.array(one.rows.labels, bool),
            np.array(one.rows.queries, str),
            np.array(one.rows.collections, str),
            np.array(one.rows.answered, bool),
        )
        parts.append(whole.only(np.array(one.rows.served, bool)))
    return Held(
        np.concatenate([p.probabilities for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.queries for p in parts]),
        np.concatenate([p.collections for p in parts]),
        np.concatenate([p.answered for p in parts]),
    )


def fit_thresholds(held: Held, high: float, medium: float) -> dict[str, WordThreshold]:
    """Where `high` and `medium` begin, so that each word's own hits have the stated precision.

    Neither begins below its lowest probability (above): many sure hits would else carry unlikely
    ones with them.
    """
    p, y = held.probabilities, held.labels
    likely = p >= min(LOWEST_HIGH, high)
    from_high = threshold_for(p[likely], y[likely], high)
    between = (p >= min(LOWEST_MEDIUM, medium)) & (
        p < (math.inf if from_high is None else from_high)
    )
    from_medium = threshold_for(p[between], y[between], medium)
    limits = Thresholds(
        math.inf if from_high is None else from_high,
        math.inf if from_medium is None else from_medium,
    )
    found = words(p.tolist(), y.tolist(), limits)
    stated = {"high": (high, from_high), "medium": (medium, from_medium)}
    return {
        word: WordThreshold(
            precision=precision,
            probability=threshold,
            n=found[word]["n"],
            coverage=found[word]["coverage"],
            found=found[word]["precision"],
            low=found[word]["low"],
            high=found[word]["high"],
        )
        for word, (precision, threshold) in stated.items()
    }


def confidence(held: Held, thresholds: Thresholds) -> dict[str, Any]:
    """ECE, Brier score, reliability and each word's precision and coverage, as in a report."""
    p, y = held.probabilities, held.labels
    queries = len(set(held.queries.tolist()))
    report = words(p.tolist(), y.tolist(), thresholds)
    given = np.array([thresholds.word(value) for value in p.tolist()])
    for word, row in report.items():
        # A query counts where a hit of its own answer has the word, not one of the emptied one.
        having = set(held.queries[(given == word) & held.answered].tolist())
        row["queries"] = len(having) / queries if queries else 0.0
    return {
        "hits": len(p),
        "relevant": int(y.sum()),
        "queries": queries,
        "ece": expected_calibration_error(p, y),
        "brier": brier_score(p, y),
        "words": report,
        "reliability": reliability(p, y),
    }


def by_part(held: Held, thresholds: Thresholds) -> dict[str, Any]:
    """`confidence` of all hits, of those of unchanged answers, and of these per collection.

    `answered` is what `secondpass evaluate` measures; `all` has as many emptied answers beside it.
    """
    answered = held.only(held.answered)
    names: Sequence[str] = sorted(set(answered.collections.tolist()))
    return {
        "all": confidence(held, thresholds),
        "answered": confidence(answered, thresholds),
        "collections": {
            name: confidence(answered.only(answered.collections == name), thresholds)
            for name in names
        },
    }


def shortages(
    fitted: Mapping[Ordering, Fitted], thresholds: Mapping[str, WordThreshold], queries: int
) -> list[str]:
    """What the labels are too few for, and how many are enough; one sentence each."""
    said = []
    for ordering, one in fitted.items():
        positive = one.fit.curve.positive
        if positive < ENOUGH_POSITIVE:
            of = len(set(one.rows.queries))
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
    """Hits of a word after which its precision's 95 % interval is `MARGIN` to either side."""
    spread = max(precision * (1 - precision), MARGIN * (1 - MARGIN))
    return math.ceil(1.96**2 * spread / MARGIN**2)
