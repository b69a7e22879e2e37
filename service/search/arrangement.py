"""Which hits an answer shows, and in which order: filtered, boosted, folded, grouped."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from service.confidence.judge import ORDER
from service.search.boosts import boosted, strength
from service.search.folding import folded
from service.search.grouping import group_value, grouped
from service.search.query import FoldedHit, Hit, HitGroup, Query, Timings
from service.search.second_stage import Ranked, Ranking
from service.types import WHOLE, FilterScalar, StoredPassage

LEAST = ("min_confidence", "min_probability")
"""Fields that leave out hits of which the answer is less sure."""

MOST_ALSO = 20
"""Folded documents that a hit names; `folded` counts all."""


class Row(NamedTuple):
    """A document in the final order, and how strongly it was boosted, if any was."""

    ranked: Ranked
    boost: float | None = None


class Placed(NamedTuple):
    """A hit at its rank, 1-based: the first row is shown, the others are folded into it."""

    rank: int
    rows: tuple[Row, ...]


class Place(NamedTuple):
    """What `offset` counts: a hit or a group of hits, the best first.

    `value` and `size` are the group's; `size` also counts hits beyond `group_size`.
    """

    hits: tuple[Placed, ...]
    value: FilterScalar | None = None
    size: int = 1

    def hit(self, query: Query) -> Hit:
        """How the answer to `query` shows it."""
        first, *others = (_hit(placed, query) for placed in self.hits)
        if query.group_by is None:
            return first
        return replace(first, group=HitGroup(self.value, self.size, others))

    @property
    def rows(self) -> Iterator[Row]:
        """All rows, also those that are folded."""
        return (row for placed in self.hits for row in placed.rows)


def sure_enough(ranking: Ranking, query: Query, warnings: list[str]) -> list[Ranked]:
    """The rows that reach `min_confidence` and `min_probability`.

    If the hits are uncalibrated, neither applies; this is added to `warnings`.
    """
    rows = ranking.rows
    given = [name for name in LEAST if getattr(query, name) is not None]
    if given and ranking.answerable is None:
        why = "was not applied: the hits are uncalibrated"
        warnings.extend(f"{name} {why}" for name in given)
        return rows
    if (least := query.min_probability) is not None:
        rows = [row for row in rows if row.probability is not None and row.probability >= least]
    if query.min_confidence is not None:
        wanted = ORDER[query.min_confidence]
        rows = [row for row in rows if ORDER[row.confidence] >= wanted]
    return rows


async def places_of(rows: Sequence[Ranked], query: Query, timings: Timings) -> list[Place]:
    """All places of the answer, or those of the first page where nothing more is needed."""
    now = time.time()
    if query.boost or query.diversity or query.group_by:
        with timings.stage("arrange"):
            # In a thread: a thousand candidates may take as long as their rerank.
            return list(await asyncio.to_thread(arranged, rows, query, now))
    most = query.top_k if query.offset is None else None
    return list(islice(arranged(rows, query, now), most))


def arranged(ranking: Sequence[Ranked], query: Query, now: float) -> Iterable[Place]:
    """All places of the answer to `query`, whose ranking is given.

    First boosts move the rows, then those that say nearly the same are folded into the best of
    them, then the hits that are left are numbered and grouped. `now` is in seconds since 1970.
    """
    rows = _boosted(ranking, query, now) if query.boost else map(Row, ranking)
    stacks = _folded(list(rows)) if query.diversity else zip(rows)
    hits = (Placed(rank, stack) for rank, stack in enumerate(stacks, 1))
    if query.group_by is None:
        return (Place((placed,)) for placed in hits)
    return _grouped(list(hits), query.group_by, query.group_size)


def _boosted(ranking: Sequence[Ranked], query: Query, now: float) -> list[Row]:
    rows = [Row(one, strength(query.boost, one.candidate.passage.metadata, now)) for one in ranking]
    # Those that were reranked come first; the scores of the others mean something else.
    reranked = [row for row in rows if row.ranked.pair is not None]
    others = [row for row in rows if row.ranked.pair is None]
    return [part[place] for part in (reranked, others) if part for place in _order(part)]


def _order(rows: Sequence[Row]) -> list[int]:
    ids = [row.ranked.candidate.key for row in rows]
    return boosted([row.ranked.score for row in rows], [row.boost or 0.0 for row in rows], ids)


def _folded(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    stacks: dict[int, list[Row]] = {}
    for row, into in zip(rows, folded([_text(row) for row in rows]), strict=True):
        stacks.setdefault(into, []).append(row)
    return [tuple(stack) for stack in stacks.values()]


def _text(row: Row) -> str:
    return row.ranked.candidate.passage.text


def _grouped(hits: Sequence[Placed], field: str, most: int) -> list[Place]:
    values = [group_value(hit.rows[0].ranked.candidate.passage.metadata, field) for hit in hits]
    return [
        Place(tuple(hits[at] for at in places[:most]), values[places[0]], len(places))
        for places in grouped(values)
    ]


def _hit(placed: Placed, query: Query) -> Hit:
    (ranked, boost), *others = placed.rows
    hit = ranked.hit(placed.rank)
    if boost is not None:
        hit = replace(hit, boost=boost)
    if query.diversity:
        also = [
            FoldedHit(row.ranked.candidate.passage.document_id, row.ranked.candidate.collection)
            for row in others[:MOST_ALSO]
        ]
        hit = replace(hit, also=also, folded=len(others))
    return hit


def frozen(place: Place) -> Place:
    """The place without the texts of its passages."""

    def bare(passage: StoredPassage) -> StoredPassage:
        return replace(passage, title="", text="", metadata={}, place=WHOLE)

    hits = [
        placed._replace(rows=tuple(_with(row, bare(_passage(row))) for row in placed.rows))
        for placed in place.hits
    ]
    return place._replace(hits=tuple(hits))


def renewed(
    places: Sequence[Place], current: Sequence[StoredPassage | None]
) -> tuple[list[Place], int]:
    """Places with their passages as they are now, and how many hits are left out.

    `current` has an entry for each of the places' rows; where it is None, the row is gone. If a
    hit's own row is gone, the best one of those that were folded into it is shown.
    """
    left, shown, gone = iter(current), [], 0
    for place in places:
        hits = []
        for placed in place.hits:
            now = ((row, next(left)) for row in placed.rows)
            rows = tuple(_with(row, passage) for row, passage in now if passage)
            gone += not rows
            if rows:
                hits.append(placed._replace(rows=rows))
        if hits:
            shown.append(place._replace(hits=tuple(hits)))
    return shown, gone


def _passage(row: Row) -> StoredPassage:
    return row.ranked.candidate.passage


def _with(row: Row, passage: StoredPassage) -> Row:
    candidate = row.ranked.candidate._replace(passage=passage)
    return row._replace(ranked=row.ranked._replace(candidate=candidate))
