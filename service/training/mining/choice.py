"""Which of a query's candidates become its negatives, and why the others do not."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.datasets import TrainingRow
from service.datasets.describe import quartiles
from service.errors import InvalidInputError
from service.training.mining.examples import Examples, OwnQueries, QueryFor

REASONS = {
    "before the window": "ranks before rank_min",
    "sibling": "is in an article of the right passage",
    "above the margin": "scores above the right passage's score less the margin",
    "above max_score": "scores above max_score",
    "no query of its own": "no query is known that it answers",
    "not needed": "fit, but the row was full",
}
"""Why a candidate is rejected, in the order in which it is asked."""


@dataclass(slots=True)
class MiningReport:
    """Counts of one mining. `scores` are those that the ranking gave; BM25's are not bounded.

    `right` counts candidates that are labelled right for their query, and `copies` documents whose
    text another document has too: both were never in question as negatives. A candidate is counted
    once for each pair of query and right passage that it could have served. `empty` counts pairs
    that found no negative and `incomplete` those left out for too few.
    """

    collection: str
    strategy: str
    queries: int = 0
    pairs: int = 0
    passages: int = 0
    copies: int = 0
    right: int = 0
    rows: int = 0
    negatives: int = 0
    empty: int = 0
    incomplete: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    ranks: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    positive_scores: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it, with quartiles in place of the lists."""
        counts = ("queries", "pairs", "passages", "copies", "right")
        taken = ("rows", "negatives", "empty", "incomplete")
        return {
            "collection": self.collection,
            "strategy": self.strategy,
            **{name: getattr(self, name) for name in (*counts, *taken)},
            "rejected": {reason: self.rejected[reason] for reason in REASONS},
            "rank_of_negatives": _quartiles(self.ranks),
            "score_of_negatives": _quartiles(self.scores),
            "score_of_positives": _quartiles(self.positive_scores),
        }


def _quartiles(values: Sequence[float]) -> Mapping[str, float] | None:
    """Of the finite values; None where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return {k: round(v, 4) for k, v in quartiles(finite).items()} if finite else None


@dataclass(frozen=True, slots=True)
class Choice:
    """The rules. Raises `InvalidInputError` where one contradicts another.

    A candidate's rank, from 1, is its place in the query's list once the right passages are taken
    out; `rank_min` and `rank_max` are the first and last that may be taken. What scores above
    `positive - margin`, or above `positive * (1 - relative_margin)`, is likely to be right though
    has no label, and is left out; so is what scores above `max_score`. None switches a rule
    off. Without `siblings`, passages of the right one's articles are left out. `pick` is `nearest`
    (the best ranks) or `random` (a draw within the window). With `complete`, rows with fewer than
    `negatives` are left out. With `negative_queries`, each negative needs a query that it answers.
    """

    negatives: int = 4
    rank_min: int = 1
    rank_max: int = 100
    margin: float | None = 0.0
    relative_margin: float | None = None
    max_score: float | None = None
    siblings: bool = True
    pick: Literal["nearest", "random"] = "nearest"
    complete: bool = False
    negative_queries: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise InvalidInputError("negatives must be at least 1", "negatives")
        if not 1 <= self.rank_min <= self.rank_max:
            raise InvalidInputError(
                f"ranks {self.rank_min} to {self.rank_max} are no window", "rank_min"
            )
        if self.rank_max - self.rank_min + 1 < self.negatives:
            raise InvalidInputError(
                f"ranks {self.rank_min} to {self.rank_max} hold fewer than "
                f"{self.negatives} negatives",
                "rank_max",
            )

    def limit(self, positive: float) -> float:
        """The highest score that a negative may have beside a positive of this score."""
        limits = [math.inf]
        if self.margin is not None:
            limits.append(positive - self.margin)
        if self.relative_margin is not None:
            limits.append(positive - abs(positive) * self.relative_margin)
        return min(limits)


class Ranking(NamedTuple):
    """One query's candidates, best first: places of passages with their scores, higher is better.

    `positives` are the scores of the query's right passages, in the order of
    `Examples.positives`. NaN means that there is no score, and passes every rule about scores.
    """

    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    positives: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mined:
    """A row for each query and right passage that found negatives, and what was rejected."""

    rows: list[TrainingRow]
    report: MiningReport


class _Fit(NamedTuple):
    rank: int
    place: int
    score: float


def choose(
    examples: Examples,
    rankings: Sequence[Iterable[Ranking]],
    choice: Choice,
    *,
    strategy: str,
    query_for: QueryFor | None = None,
) -> Mined:
    """Take negatives from each source's rankings in turn: a ranking for each query, in order.

    A row has one positive, so a query with several right passages gets as many rows. `query_for`
    is asked for the query of a negative that no label gives.
    """
    report = MiningReport(examples.name, strategy, copies=examples.copies)
    report.queries, report.passages = len(examples.queries), len(examples.passages)
    chooser = _Chooser(examples, choice, OwnQueries(examples, query_for, choice.seed), report)
    rows = []
    for query, *sources in zip(range(len(examples.queries)), *rankings, strict=True):
        for number in range(len(examples.positives[query])):
            row = chooser.row(query, number, sources)
            if row is not None:
                rows.append(row)
    report.rows, report.negatives = len(rows), sum(len(row.negatives) for row in rows)
    return Mined(rows, report)


@dataclass(frozen=True, slots=True)
class _Chooser:
    examples: Examples
    choice: Choice
    own: OwnQueries
    report: MiningReport

    def row(self, query: int, number: int, sources: Sequence[Ranking]) -> TrainingRow | None:
        choice, report, examples = self.choice, self.report, self.examples
        report.pairs += 1
        fits = [self._picked(query, number, self._fits(query, number, s)) for s in sources]
        distinct: dict[int, _Fit] = {}
        for fit in chain.from_iterable(zip_longest(*fits)):
            if fit is not None:  # one of the shorter lists has ended
                distinct.setdefault(fit.place, fit)
        taken = list(distinct.values())[: choice.negatives]
        report.rejected["not needed"] += len(distinct) - len(taken)
        if not taken:
            report.empty += 1
            return None
        if choice.complete and len(taken) < choice.negatives:
            report.incomplete += 1
            return None
        report.ranks += [fit.rank for fit in taken]
        report.scores += [fit.score for fit in taken]
        report.positive_scores.append(float(sources[0].positives[number]))
        own = [self.own.of(fit.place, query) for fit in taken] if choice.negative_queries else []
        return TrainingRow(
            examples.queries[query],
            (examples.passages[examples.positives[query][number]],),
            tuple(examples.passages[fit.place] for fit in taken),
            tuple(filter(None, own)),
        )

    def _fits(self, query: int, number: int, ranking: Ranking) -> list[_Fit]:
        """Candidates that no rule rejects, best first."""
        positives = self.examples.positives[query]
        limit = self.choice.limit(float(ranking.positives[number]))
        articles = self.examples.articles[positives[number]]
        fits: list[_Fit] = []
        rank = 0
        for place, score in zip(ranking.places.tolist(), ranking.scores.tolist(), strict=True):
            if place in positives:
                self.report.right += 1
                continue
            rank += 1
            if rank > self.choice.rank_max:
                break
            fit = _Fit(rank, place, score)
            reason = self._against(query, fit, limit, articles)
            if reason is None:
                fits.append(fit)
            else:
                self.report.rejected[reason] += 1
        return fits

    def _against(self, query: int, fit: _Fit, limit: float, articles: frozenset[str]) -> str | None:
        choice = self.choice
        if fit.rank < choice.rank_min:
            return "before the window"
        if not choice.siblings and not articles.isdisjoint(self.examples.articles[fit.place]):
            return "sibling"
        if fit.score > limit:
            return "above the margin"
        if choice.max_score is not None and fit.score > choice.max_score:
            return "above max_score"
        if choice.negative_queries and self.own.of(fit.place, query) is None:
            return "no query of its own"
        return None

    def _picked(self, query: int, number: int, fits: list[_Fit]) -> list[_Fit]:
        """As many as a row needs, or all: the best ranks, or drawn from all ranks alike."""
        choice = self.choice
        if choice.pick == "nearest" or len(fits) <= choice.negatives:
            return fits
        # The draw depends on the query's text, not on its place in the collection.
        draw = random.Random(f"{choice.seed}:{self.examples.queries[query]}:{number}")  # noqa: S311
        self.report.rejected["not needed"] += len(fits) - choice.negatives
        return sorted(draw.sample(fits, choice.negatives))
