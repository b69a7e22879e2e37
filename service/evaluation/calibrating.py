"""Curves from scores to probabilities, fitted on labelled queries, and how good they are."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.confidence.calibration import MIXED, Ordering, share_in
from service.confidence.fit import FEWEST_POSITIVE, Fit, fit_curve
from service.confidence.quality import quality, reliability
from service.errors import InvalidInputError
from service.evaluation.candidates import Observed
from service.evaluation.report import SHOWN_HITS

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
    collections: Iterable[Observed], shares: Mapping[str, float], depth: int, *, mixed: bool = False
) -> dict[Ordering, Hits]:
    """The first hits of each query in each ordering that its language may be served in.

    Each query counts twice: with all candidates, and without its relevant documents, as a query
    that nothing here answers. `shares` is as in an artifact. Only searches within a language are
    collected, or with `mixed` only those whose query and passages differ in language.
    """
    rows: dict[Ordering, list[tuple[object, ...]]] = {"retrieval": []}
    for collection in collections:
        for query, search in sorted(collection.searches.items()):
            name = f"{collection.name}/{query}"
            for found in (search.answered, search.unanswered):
                if (found.language == MIXED) != mixed:
                    continue
                share, answered = share_in(shares, found.language), found is search.answered
                for weight in sorted({0.0, share}):
                    ordered = found.ranked(weight, depth)
                    if weight > 0.0 and ordered.ordering == "retrieval":
                        continue  # not reranked
                    of = rows.setdefault(ordered.ordering, [])
                    about = (name, collection.name, answered, weight == share)
                    scores = ordered.basis[:SHOWN_HITS].tolist()
                    for score, place in zip(scores, ordered.places, strict=False):
                        relevant = collection.is_relevant(query, found.documents[place])
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
