"""Curves and thresholds out of labelled queries: what a hit's score is worth, and its word."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import MIXED, Ordering, share_in
from service.confidence.fit import FEWEST_POSITIVE, Fit, fit_curve
from service.confidence.quality import (
    brier_score,
    expected_calibration_error,
    reliability,
    tally,
)
from service.errors import InvalidInputError
from service.evaluation.candidates import Observed
from service.evaluation.report import SHOWN_HITS


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
    collections: Iterable[Observed],
    shares: Mapping[str, float],
    depth: int,
    *,
    mixed: bool = False,
) -> dict[Ordering, Rows]:
    """The first hits of each query in each ordering that its language may be served in.

    Each query counts twice: with what was found, and as a query that nothing here answers, from
    candidates without its relevant documents. `shares` is as an artifact's. Searches within a
    language and, with `mixed`, those whose query and passages differ are never put together.
    """
    rows: dict[Ordering, Rows] = {"retrieval": Rows()}
    for collection in collections:
        for query, search in sorted(collection.searches.items()):
            for candidates in (search.answered, search.unanswered):
                if (candidates.language == MIXED) != mixed:
                    continue
                share = share_in(shares, candidates.language)
                for weight in sorted({0.0, share}):
                    ordered = candidates.ranked(weight, depth)
                    if weight > 0.0 and ordered.ordering == "retrieval":
                        continue  # not reranked
                    into = rows.setdefault(ordered.ordering, Rows())
                    basis = ordered.basis[:SHOWN_HITS].tolist()
                    for place, score in zip(ordered.places, basis, strict=False):
                        into.scores.append(score)
                        label = collection.is_relevant(query, candidates.documents[place])
                        into.labels.append(label)
                        into.queries.append(f"{collection.name}/{query}")
                        into.collections.append(collection.name)
                        into.answered.append(candidates is search.answered)
                        into.served.append(weight == share)
    return rows


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


def confidence(held: Held, given: NDArray[np.str_]) -> dict[str, Any]:
    """ECE, Brier score, reliability and each word's precision and coverage, as in a report.

    `given`, shape (n,), is each hit's word, by thresholds that its query had no say in.
    """
    p, y = held.probabilities, held.labels
    queries = len(set(held.queries.tolist()))
    report = tally(given.tolist(), y.tolist())
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


def by_part(held: Held, given: NDArray[np.str_]) -> dict[str, Any]:
    """`confidence` of all hits, of those of unchanged answers, and of these per collection.

    `answered` is what `secondpass evaluate` measures; `all` has as many emptied answers beside it.
    """

    def part(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return confidence(held.only(rows), given[rows])

    names: Sequence[str] = sorted(set(held.collections[held.answered].tolist()))
    return {
        "all": confidence(held, given),
        "answered": part(held.answered),
        "collections": {name: part(held.answered & (held.collections == name)) for name in names},
    }
