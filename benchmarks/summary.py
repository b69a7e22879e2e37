"""The short table of the README, from the same result as those of docs/performance.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import table
from benchmarks.speed.bars import BARS

_RATIOS = {
    "rerank_exact": "rerank with the same cross-encoder, same scores",
    "rerank_fast": "the same weights and the fast settings; scores differ",
    "rerank_interaction": "rerank with the default, `interaction-v1`",
    "throughput_16": "answers per second, 16 clients, default settings",
}


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """Name -> Markdown, of the result of `make bench`; a dash where nothing was measured."""
    bars = {bar.path: f"{bar.way} {bar.bar:g}" for bar in BARS}
    ratios = [
        [what, found["ratios"].get(name), bars["ratios", name]] for name, what in _RATIOS.items()
    ]
    return {
        "ratios-in-short": table(["times as fast as sentence-transformers", "", "bar"], ratios),
    }
