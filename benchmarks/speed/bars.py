"""What the figures have to reach on two cores."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "at least": operator.ge,
    "at most": operator.le,
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table: `path` leads to the figure in the result."""

    what: str
    path: tuple[str, ...]
    way: Literal["at least", "at most"]
    bar: float


_HTTP = "secondpass {}, HTTP"

BARS = (
    Bar("rerank, exact, times faster", ("ratios", "rerank_exact"), "at least", 2.0),
    Bar("rerank, fast settings, times faster", ("ratios", "rerank_fast"), "at least", 4.0),
    Bar("rerank, interaction, times faster", ("ratios", "rerank_interaction"), "at least", 15.0),
    Bar(
        "search over HTTP, interaction, times faster (4 s to 0.3 s)",
        ("ratios", "search_interaction"),
        "at least",
        13.3,
    ),
    Bar("throughput, 16 clients, against FastAPI", ("ratios", "throughput_16"), "at least", 3.0),
    Bar(
        "throughput, 16 clients, against infinity",
        ("ratios", "throughput_16_interaction_over_infinity"),
        "at least",
        3.0,
    ),
    *(
        Bar(
            f"nDCG@10, {variant}, difference",
            ("quality", f"secondpass {variant}", "difference"),
            "at least",
            bar,
        )
        for variant, bar in (("exact", -0.005), ("fast", -0.005), ("interaction", -0.01))
    ),
    Bar("HTTP beyond the search, p50 ms", ("http_overhead_ms", "interaction", "p50"), "at most", 3),
    Bar(
        "HTTP beyond the search, p99 ms", ("http_overhead_ms", "interaction", "p99"), "at most", 10
    ),
    *(
        Bar(
            f"p99 / p50 at 4 clients, {variant}",
            ("systems", _HTTP.format(variant), "load", "4", "p99_over_p50"),
            "at most",
            3,
        )
        for variant in ("exact", "fast", "interaction")
    ),
)


def held(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each bar with the figure and whether it is held; both None where it was not measured."""
    rows = []
    for bar in BARS:
        value: Any = found
        for key in bar.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        held = None if value is None else _COMPARE[bar.way](value, bar.bar)
        rows.append(
            {"what": bar.what, "figure": value, "bar": f"{bar.way} {bar.bar:g}", "held": held}
        )
    return rows
