"""From answers to figures: percentiles, ratios within rounds, and the quality of each order."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.speed.measure import Load, Timed
from benchmarks.speed.systems import Answered
from service.evaluation.measures import means, per_query

Pick = Callable[[Answered], float | None]


def total_ms(answered: Answered) -> float | None:
    """What the caller waited."""
    return answered.total_ms


def rerank_ms(answered: Answered) -> float | None:
    """The scoring of the candidates."""
    return answered.rerank_ms


def outside_ms(answered: Answered) -> float | None:
    """What the caller waited longer than the search took by the server's own clock."""
    return None if answered.inside_ms is None else answered.total_ms - answered.inside_ms


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 by linear interpolation, and how many values they are of."""
    found = {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}
    return {**found, "of": len(values)}


def spread(timed: Iterable[Timed], system: str, pick: Pick) -> dict[str, float] | None:
    """`percentiles` of one system's answers; None where it has no such figure."""
    values = [pick(each.answered) for each in timed if each.system == system]
    known = [value for value in values if value is not None]
    return percentiles(known) if known else None


def ratio(timed: Iterable[Timed], slow: str, fast: str, pick: Pick) -> float | None:
    """The median over rounds of (median of `slow` in the round / median of `fast` in it).

    Drift of the machine between rounds is in both, and falls out. None where either is missing.
    """
    rounds: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for each in timed:
        value = pick(each.answered)
        if each.system in (slow, fast) and value is not None:
            rounds[each.round][each.system].append(value)
    ratios = [
        statistics.median(of[slow]) / statistics.median(of[fast])
        for of in rounds.values()
        if of[slow] and of[fast]
    ]
    return round(statistics.median(ratios), 3) if ratios else None


def throughput(loads: Iterable[Load]) -> dict[str, dict[int, dict[str, float]]]:
    """System -> clients -> answers a second (median over repeats) and percentiles in ms."""
    grouped: dict[str, dict[int, list[Load]]] = defaultdict(lambda: defaultdict(list))
    for load in loads:
        grouped[load.system][load.clients].append(load)
    return {
        system: {clients: _load_figures(of) for clients, of in by_clients.items()}
        for system, by_clients in grouped.items()
    }


def _load_figures(loads: Sequence[Load]) -> dict[str, float]:
    spread_ms = percentiles([ms for load in loads for ms in load.milliseconds])
    return {
        "per_second": round(statistics.median(load.per_second for load in loads), 3),
        **spread_ms,
        "p99_over_p50": round(spread_ms["p99"] / spread_ms["p50"], 2),
    }


def quality(
    qrels: Mapping[str, Mapping[str, int]], answers: Mapping[str, Iterable[Timed]], against: str
) -> dict[str, dict[str, Any]]:
    """nDCG@10 of each pipeline over the queries it answered, and of `against` on the same ones.

    `complete` is the share of its answers in which all candidates were reranked.
    """
    runs = {name: {t.question: list(t.answered.ids) for t in of} for name, of in answers.items()}
    found = {}
    for name, run in runs.items():
        both = [query for query in run if query in runs[against] and query in qrels]
        judged = {query: qrels[query] for query in both}
        values = {who: _ndcg(judged, runs[who]) for who in (name, against)}
        complete = [timed.answered.complete for timed in answers[name]]
        found[name] = {
            "ndcg@10": values[name],
            "queries": len(both),
            "difference": round(values[name] - values[against], 4),
            "complete": round(statistics.mean(complete), 3),
        }
    return found


def _ndcg(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, list[str]]) -> float:
    return round(means(per_query(qrels, run, ["ndcg@10"]))["ndcg@10"], 4)
