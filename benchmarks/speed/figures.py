"""From turns to figures: percentiles, rates, ratios within rounds, nDCG@10."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.speed.rounds import Turn
from benchmarks.speed.systems import Answered, Kind
from service.evaluation.measures import means, per_query


def of_system(turns: Sequence[Turn], system: str) -> dict[str, dict[str, float]]:
    """Kind of turn -> texts or answers a second, the median over rounds, and percentiles in ms."""
    by_kind: dict[Kind, list[Turn]] = defaultdict(list)
    for turn in turns:
        if turn.system == system:
            by_kind[turn.kind].append(turn)
    return {kind: _of_kind(of) for kind, of in by_kind.items()}


def _of_kind(turns: Sequence[Turn]) -> dict[str, float]:
    rate = {"per_second": round(statistics.median(turn.per_second for turn in turns), 3)}
    waited = [answer.total_ms for turn in turns for answer in turn.answers]
    if not waited:
        return rate
    spread = percentiles(waited)
    return {**rate, **spread, "p99_over_p50": round(spread["p99"] / spread["p50"], 2)}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 by linear interpolation, and how many values they are of."""
    found = {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}
    return {**found, "of": len(values)}


def http_ms(turns: Sequence[Turn], system: str) -> dict[str, float] | None:
    """What one client waited longer than the search took by the server's own clock."""
    answers = [a for t in turns if (t.system, t.kind) == (system, "1 client") for a in t.answers]
    outside = [outside for answer in answers if (outside := _outside(answer)) is not None]
    return percentiles(outside) if outside else None


def _outside(answer: Answered) -> float | None:
    return None if answer.inside_ms is None else answer.total_ms - answer.inside_ms


def _value(turn: Turn) -> float:
    return turn.median_ms if turn.kind == "1 client" else turn.per_second


def best(turns: Sequence[Turn], systems: Sequence[str], kind: Kind) -> str | None:
    """The one with the best figure, the median over rounds; None where none was measured."""
    values: dict[str, list[float]] = defaultdict(list)
    for turn in turns:
        if turn.kind == kind and turn.system in systems:
            values[turn.system].append(_value(turn))
    choose = min if kind == "1 client" else max
    return choose(values, key=lambda system: statistics.median(values[system]), default=None)


def ratio(turns: Sequence[Turn], ours: tuple[str, Kind], other: tuple[str, Kind]) -> float | None:
    """The median over rounds of (our figure in the round / the other's in it).

    Drift of the machine between rounds is in both, and falls out. None where either is missing.
    """
    values = {(turn.system, turn.kind, turn.round): _value(turn) for turn in turns}
    rounds = sorted({turn.round for turn in turns})
    ratios = [
        values[*ours, number] / values[*other, number]
        for number in rounds
        if (*ours, number) in values and (*other, number) in values
    ]
    return round(statistics.median(ratios), 3) if ratios else None


def quality(
    qrels: Mapping[str, Mapping[str, int]], found: Mapping[str, Mapping[str, list[str]]]
) -> dict[str, dict[str, Any]]:
    """nDCG@10 of each system that searches; all were asked the same queries."""
    return {
        system: {
            "ndcg@10": round(
                means(per_query({q: qrels[q] for q in run}, run, ["ndcg@10"]))["ndcg@10"], 4
            ),
            "labelled_queries": len(run),
        }
        for system, run in found.items()
    }
