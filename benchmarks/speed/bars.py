"""The comparisons that are shown, and the bars that they have to pass on two cores."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.speed import systems as s
from benchmarks.speed.figures import best, ratio
from benchmarks.speed.machine import flags
from benchmarks.speed.rounds import Turn
from benchmarks.speed.systems import Kind

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "at least": operator.ge,
    "at most": operator.le,
}
_FASTER_INGEST = 3.5 if {"avx512_bf16", "amx_bf16"} & set(flags()) else 2.3
"""The first where the processor multiplies bfloat16."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """This service's figure over that of the best of `others`, as a ratio within rounds.

    The figure of one client is the median of milliseconds, any other one is a rate a second.
    """

    what: str
    ours: tuple[str, Kind]
    others: tuple[str, ...]
    kind: Kind
    bar: float | None = None
    in_readme: bool = True


_Ours = tuple[str, tuple[str, Kind]]
_ONE: _Ours = ("p50 of a search, 1 client", (s.OURS, "1 client"))
_MANY: _Ours = ("searches a second, 16 clients", (s.OURS, "16 clients"))
_INGEST: _Ours = ("passages a second, ingest", (s.OURS_INGEST, "passages"))
_CROSS: _Ours = ("p50 with the cross-encoder, 1 client", (s.OURS_CROSS, "1 client"))
_CROSS_MANY: _Ours = ("searches a second with it, 16 clients", (s.OURS_CROSS, "16 clients"))
_ENCODERS = (s.BARE_INT8, s.FASTEMBED)

COMPARISONS = (
    Comparison(*_ONE, (s.FAISS,), "1 client"),
    Comparison(*_ONE, (s.FAISS_CROSS,), "1 client"),
    Comparison(*_ONE, (s.BARE,), "1 client", 1.8),
    Comparison(*_MANY, (s.FAISS,), "16 clients"),
    Comparison(*_MANY, (s.FAISS_CROSS,), "16 clients"),
    Comparison(*_MANY, (s.INFINITY,), "16 clients", 2.0),
    Comparison(*_MANY, (s.STOCK,), "queries", 0.8),
    Comparison(*_MANY, _ENCODERS, "queries", in_readme=False),
    Comparison(*_INGEST, (s.STOCK,), "passages", _FASTER_INGEST),
    Comparison(*_INGEST, _ENCODERS, "passages", in_readme=False),
    Comparison(*_CROSS, (s.FAISS_CROSS,), "1 client", in_readme=False),
    Comparison(*_CROSS, (s.INFINITY_RERANK,), "1 client", in_readme=False),
    Comparison(*_CROSS_MANY, (s.FAISS_CROSS,), "16 clients", in_readme=False),
)


def compared(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Each comparison with the best other, the ratio, and whether the bar is held, where known."""
    rows = []
    for one in COMPARISONS:
        against = best(turns, one.others, one.kind)
        measured = None if against is None else ratio(turns, one.ours, (against, one.kind))
        way = "at most" if one.kind == "1 client" else "at least"
        rows.append(
            {
                "what": one.what,
                "against": " or ".join(one.others) if against is None else against,
                "kind": one.kind,
                "in_readme": one.in_readme,
                **_judged(measured, way, one.bar),
            }
        )
    return rows


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure of this service alone: `path` leads to it in the result."""

    what: str
    path: tuple[str, ...]
    way: str
    bar: float


LIMITS = (
    Limit("HTTP beyond the search, p50 ms", ("http_ms", "p50"), "at most", 3),
    Limit("HTTP beyond the search, p99 ms", ("http_ms", "p99"), "at most", 10),
    Limit("p99 / p50, 16 clients", ("systems", s.OURS, "16 clients", "p99_over_p50"), "at most", 3),
    Limit("start to the first answer, s", ("systems", s.OURS, "start_seconds"), "at most", 6),
    Limit("share of the bfloat16 matrix rate, ingest", ("matrix_share",), "at least", 0.35),
    Limit("nDCG@10, minus the best other system's", ("ndcg_lead",), "at least", -0.01),
)


def held(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each limit with its figure and whether it is held; both None where it was not measured."""
    rows = []
    for limit in LIMITS:
        value: Any = found
        for key in limit.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        rows.append({"what": limit.what, **_judged(value, limit.way, limit.bar)})
    return rows


def _judged(value: float | None, way: str, bar: float | None) -> dict[str, Any]:
    held = None if value is None or bar is None else _COMPARE[way](value, bar)
    return {"figure": value, "bar": bar and f"{way} {bar:g}", "held": held}
