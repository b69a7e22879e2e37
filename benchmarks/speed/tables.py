"""The tables of README.md and docs/performance.md that a result of this package fills."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.markdown import table

_HELD = {True: "yes", False: "no", None: None}


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """Name -> Markdown."""
    return {
        "picture": "![What one client waits for, and answers a second](performance.svg)",
        "machine": _machine(found),
        "ratios": _ratios(found["comparisons"]),
        "ratios-in-short": _ratios(one for one in found["comparisons"] if one["in_readme"]),
        "bars": _bars(found["bars"]),
        "served": _served(found["systems"]),
        "batches": _batches(found["systems"]),
        "cost": _cost(found["systems"]),
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
        f"{corpus['passages']} passages of {corpus['mean_tokens']} tokens, queries of "
        f"{found['query_tokens']}; {found['plan']['rounds']} rounds, {found['seconds']} s in all; "
        f"load {there['load_average'][0]} at the end. Backends: "
        f"{', '.join(f'{name} {backend}' for name, backend in found['backends'].items())}."
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _ratios(comparisons: Iterable[Mapping[str, Any]]) -> str:
    head = ["this service", "divided by that of", "ratio", "bar", "held"]
    rows = [
        [one["what"], _against(one), one["figure"], one["bar"], _HELD[one["held"]]]
        for one in comparisons
    ]
    return table(head, rows)


def _against(one: Mapping[str, Any]) -> str:
    batches = " (by 32)" if one["kind"] == "queries" else ""
    return f"{one['against']}{batches}"


def _bars(bars: Iterable[Mapping[str, Any]]) -> str:
    rows = [[bar["what"], bar["figure"], bar["bar"], _HELD[bar["held"]]] for bar in bars]
    return table(["", "measured", "bar", "held"], rows)


def _served(systems: Mapping[str, Any]) -> str:
    head = ["", "1 client: p50 ms", "p95", "p99", "16 clients: a second", "p50 ms", "p99/p50"]
    rows = [
        [
            name,
            *(of["1 client"][p] for p in ("p50", "p95", "p99")),
            *(of.get("16 clients", {}).get(k) for k in ("per_second", "p50", "p99_over_p50")),
        ]
        for name, of in systems.items()
        if "1 client" in of
    ]
    return table(head, rows)


def _batches(systems: Mapping[str, Any]) -> str:
    kinds = ("queries", "passages")
    rows = [
        [name, *(of.get(kind, {}).get("per_second") for kind in kinds)]
        for name, of in systems.items()
        if any(kind in of for kind in kinds)
    ]
    return table(["texts a second", "queries, batches of 32", "passages"], rows)


def _cost(systems: Mapping[str, Any]) -> str:
    head = ["", "what it does", "nDCG@10", "start to first answer, s", "peak memory, MB"]
    keys = ("does", "ndcg@10", "start_seconds", "peak_memory_mb")
    return table(head, [[name, *(of.get(key) for key in keys)] for name, of in systems.items()])


def _not_measured(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return "Every system was measured."
    return "\n".join(f"- {name}: {reason}" for name, reason in reasons.items())
