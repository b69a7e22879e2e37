"""The tables of docs/performance.md that a result of this package fills."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.markdown import table


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """Name -> Markdown."""
    return {
        "picture": "![What one client waits for, and answers a second](performance.svg)",
        "machine": _machine(found),
        "latency": _latency(found["systems"]),
        "load": _load(found["systems"]),
        "cost": _cost(found["systems"]),
        "quality": _quality(found["quality"]),
        "ratios": _ratios(found["ratios"]),
        "bars": _bars(found["bars"]),
        "overhead": _overhead(found["http_overhead_ms"]),
        "not-measured": _not_measured(found["not_measured"]),
    }


def _machine(found: Mapping[str, Any]) -> str:
    there, corpus = found["machine"], found["corpus"]
    others = [f"{k} {v}" for of in found["packages"].values() for k, v in of.items()]
    own = [f"{k} {found['versions'][k]}" for k in ("python", "torch", "sentence-transformers")]
    text = (
        f"{there['processor']}, {there['cores']} cores ({', '.join(there['flags'])}), "
        f"{there['memory_gb']:.0f} GB; commit {found['commit']}; {', '.join(own)}; in their own "
        f"environments {', '.join(dict.fromkeys(others)) or 'nothing'}. "
        f"{corpus['passages']} passages, {found['plan']['candidates']} candidates, "
        f"{found['tokens_reranked']['search']:.0f} tokens to rerank in a search; "
        f"`auto` is `{found['auto_backend']}` here."
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _latency(systems: Mapping[str, Any]) -> str:
    head = ["one client, ms", "p50", "p95", "p99", "of it the rerank, p50", "answers"]
    rows = [
        [name, *(of["total_ms"][p] for p in ("p50", "p95", "p99")),
         of["rerank_ms"] and of["rerank_ms"]["p50"], of["total_ms"]["of"]]
        for name, of in systems.items()
    ]  # fmt: skip
    return table(head, rows)


def _load(systems: Mapping[str, Any]) -> str:
    head = [
        "clients",
        *(f"{n}: {what}" for n in (4, 16) for what in ("answers/s", "p50 ms", "p99/p50")),
    ]
    rows = [
        [
            name,
            *(
                of["load"][n][key]
                for n in ("4", "16")
                for key in ("per_second", "p50", "p99_over_p50")
            ),
        ]
        for name, of in systems.items()
        if of["load"]
    ]
    return table(head, rows)


def _cost(systems: Mapping[str, Any]) -> str:
    head = ["", "start to first answer, s", "peak memory, 1 client, MB", "16 clients, MB"]
    rows = [
        [
            name,
            of["start_seconds"],
            *(of["peak_memory_mb"].get(k) for k in ("one client", "16 clients")),
        ]
        for name, of in systems.items()
    ]
    return table(head, rows)


def _quality(quality: Mapping[str, Any]) -> str:
    head = ["", "nDCG@10", "minus sentence-transformers'", "queries", "reranked in full"]
    rows = [
        [
            name,
            f"{of['ndcg@10']:.4f}",
            f"{of['difference']:+.4f}",
            of["queries"],
            f"{of['complete']:.0%}",
        ]
        for name, of in quality.items()
    ]
    return table(head, rows)


def _ratios(ratios: Mapping[str, float | None]) -> str:
    return table(["times faster", ""], [[f"`{name}`", value] for name, value in ratios.items()])


def _bars(bars: Iterable[Mapping[str, Any]]) -> str:
    words = {True: "yes", False: "no", None: "not measured"}
    rows = [[bar["what"], bar["figure"], bar["bar"], words[bar["held"]]] for bar in bars]
    return table(["", "measured", "bar", "held"], rows)


def _overhead(overhead: Mapping[str, Any]) -> str:
    rows = [[name, *(of[p] for p in ("p50", "p95", "p99"))] for name, of in overhead.items() if of]
    return table(["HTTP beyond the search, ms", "p50", "p95", "p99"], rows)


def _not_measured(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return "Every system was measured."
    return "\n".join(f"- {name}: {reason}" for name, reason in reasons.items())
