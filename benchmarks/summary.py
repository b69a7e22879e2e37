"""The short tables of the README, from the same result as those of docs/performance.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import table
from benchmarks.speed.bars import BARS

_RATIOS = {
    "rerank_exact": "rerank by the same cross-encoder, same scores",
    "rerank_fast": "the same weights with the fast settings, other scores",
    "rerank_interaction": "rerank by the default, `interaction-v1`",
    "throughput_16": "answers a second, 16 clients, default settings",
}
_SYSTEMS = ("sentence-transformers, HTTP", "secondpass interaction, HTTP")
_FIGURES = {
    "a search over HTTP, one client, p50 ms": ("total_ms", "p50"),
    "peak memory with 16 clients, MB": ("peak_memory_mb", "16 clients"),
}


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """Name -> Markdown, of the result of `make bench`; a dash where nothing was measured."""
    bars = {bar.path: f"{bar.way} {bar.bar:g}" for bar in BARS}
    ratios = [
        [what, found["ratios"].get(name), bars["ratios", name]] for name, what in _RATIOS.items()
    ]
    systems = [found["systems"].get(name, {}) for name in _SYSTEMS]
    figures = [
        [what, *((of.get(kind) or {}).get(key) for of in systems)]
        for what, (kind, key) in _FIGURES.items()
    ]
    return {
        "ratios-in-short": table(["times as fast as sentence-transformers", "", "bar"], ratios),
        "figures-in-short": table(["", "sentence-transformers", "this service"], figures),
    }
