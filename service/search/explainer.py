"""Explains the hits of a search: their places in each stage, their matches, their words."""

from collections.abc import Callable, Sequence
from math import isfinite

from service.search.explanation import Explanation, Judgement, StageRank, TokenMatch
from service.search.retriever import Found
from service.search.second_stage import Ranked, Ranking
from service.types import Span, TokenMatches

MOST_MATCHES = 10
"""Query tokens of an explanation; those with the most points count."""


class Explainer:
    """Explains the hits of one search."""

    def __init__(self, found: Sequence[Found], ranking: Ranking) -> None:
        self._ranking, self._judge = ranking, ranking.judge
        self._dense = _places(found, lambda one: one.score)
        self._sparse = _places(found, lambda one: one.sparse_score)
        scored = sorted(
            (-row.pair.logit, row.candidate.key, row.candidate.passage_key)
            for row in ranking.rows
            if row.pair
        )
        self._rerank = {passage: rank for rank, (_, _, passage) in enumerate(scored, 1)}
        self._rows = {row.candidate.passage_key: (i, row) for i, row in enumerate(ranking.rows, 1)}

    def of(self, found: Found, window: str, read: str, matches: TokenMatches | None) -> Explanation:
        """For a hit's passage; `window` and `read` are the texts whose tokens `matches` names."""
        place, row = self._rows[found.passage_key]
        id_, pair = found.passage_key, row.pair
        sparse = found.sparse_score
        return Explanation(
            dense=StageRank(self._dense[id_], found.score),
            sparse=None if sparse is None else StageRank(self._sparse[id_], sparse),
            retrieval=StageRank(found.rank, found.order),
            rerank=StageRank(self._rerank[id_], pair.logit) if pair else None,
            final=StageRank(place, row.score),
            similarity_points=round(matches.rest, 3) if matches and pair else None,
            matches=token_matches(window, read, matches) if matches and pair else [],
            judgement=self._judgement(row),
        )

    def _judgement(self, row: Ranked) -> Judgement:
        judge, known = self._judge, row.probability is not None
        high, medium = judge.thresholds.high, judge.thresholds.medium
        return Judgement(
            calibration=judge.name if known else None,
            curve=self._ranking.ordering if known else None,
            score=row.score if self._ranking.ordering != "retrieval" else row.candidate.score,
            probability=row.probability,
            high=high if isfinite(high) else None,
            medium=medium if isfinite(medium) else None,
            reason=self._reason(row),
        )

    def _reason(self, row: Ranked) -> str:
        limits, found = self._judge.thresholds, row.probability
        if found is not None:
            share = f"the calibrated probability {found:.3g}"
            if row.confidence == "low":
                return f"{share} is below {limits.medium:.3g}, where medium begins"
            begins = limits.high if row.confidence == "high" else limits.medium
            return f"{share} reaches {begins:.3g}, where {row.confidence} begins"
        if self._judge.name is None:
            return "no calibration fits these models"
        if self._ranking.report.reason:
            return self._ranking.report.reason
        if row.pair is None and self._ranking.ordering != "retrieval":
            return "it is not among the candidates that were reranked"
        return "no curve of the calibration was fitted for such scores"


def token_matches(window: str, read: str, matches: TokenMatches) -> list[TokenMatch]:
    """The tokens of a query that add most to a passage's score, each with its best match."""
    if not matches.similar.size:
        return []
    best = matches.similar.argmax(axis=1).tolist()
    greatest = matches.similar.max(axis=1)
    points = (matches.points * greatest).tolist()
    order = sorted(range(len(points)), key=lambda at: (-points[at], at))[:MOST_MATCHES]
    return [
        TokenMatch(
            _cut(window, matches.query[at]),
            _cut(read, matches.passage[best[at]]),
            round(float(greatest[at]), 3),
            round(points[at], 3),
        )
        for at in order
    ]


def _cut(text: str, span: Span) -> str:
    return text[span.start : span.end].strip()


def _places(
    found: Sequence[Found], score: Callable[[Found], float | None]
) -> dict[tuple[str, int], int]:
    """The rank of each passage that has such a score, from 1."""
    scored = [(one, value) for one in found if (value := score(one)) is not None]
    ordered = sorted(scored, key=lambda pair: (-pair[1], pair[0].passage_key))
    return {one.passage_key: rank for rank, (one, _) in enumerate(ordered, 1)}
