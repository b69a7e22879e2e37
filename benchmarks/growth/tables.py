"""The tables of docs/performance.md that the figures of this package fill."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import table


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """Name -> Markdown, of the parts that were measured."""
    made = {}
    if any("curves" in part for part in found.values()):
        made["growth"] = _exponents(found)
        made["growth-picture"] = "![Time against depth, length and size](growth.svg)"
    if "size" in found:
        made["hnsw"] = _hnsw(found["size"])
    if "ingest" in found:
        made["ingest"] = _ingest(found["ingest"])
    if "memory" in found:
        made["memory"] = _memory(found["memory"])
    return made


def _exponents(found: Mapping[str, Any]) -> str:
    curves = [curve for part in found.values() for curve in part.get("curves", ())]
    head = ["", "from", "to", "ms", "ms at the end", "exponent", "of the larger half", "expected"]
    rows = [
        [
            f"{curve['name']} ({curve['unit']})",
            *(f"{curve['sizes'][end]:,}" for end in (0, -1)),
            *(curve["milliseconds"][end] for end in (0, -1)),
            curve["exponent"],
            curve.get("exponent_upper"),
            curve["expected"],
        ]
        for curve in curves
    ]
    return table(head, rows)


def _hnsw(part: Mapping[str, Any]) -> str:
    head = ["HNSW", "recall@100", "p50 ms", "p99 ms", "build s", "memory MB", "on disk MB"]
    keys = ("recall@100", "p50_ms", "p99_ms", "build_seconds", "memory_mb", "on_disk_mb")
    return table(head, [[name, *(of[key] for key in keys)] for name, of in part["hnsw"].items()])


def _ingest(part: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{one['documents']:,} documents, {one['passages']:,} passages",
            one["index"],
            one["store_seconds"],
            one["seconds"],
            f"at most {one['bar_seconds']:g}" if one["bar_seconds"] else None,
        ]
        for one in part["sse"]
    ]
    return table(["through sse-512", "index", "stored, s", "with its index, s", "bar"], rows)


def _memory(part: Mapping[str, Any]) -> str:
    rows = [
        ["after the start", part["start_mb"], ""],
        [f"after {part['searches']} searches", part["peak_mb"], f"at most {part['bar_mb']:g}"],
    ]
    return table([f"peak MB, {part['passages']:,} passages", "measured", "bar"], rows)
