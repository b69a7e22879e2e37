"""The picture: what one client waits for, and how many answers sixteen get."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.speed.processes import ROOT

OUT = ROOT / "docs" / "performance.svg"
OURS, OTHERS = "#1b6ca8", "#9aa5b1"


def draw(found: Mapping[str, Any], out: Path = OUT) -> None:
    """Write an SVG, the same bytes for the same figures."""
    systems = found["systems"]
    latency = {
        name: of["rerank_ms"]["p50"] / 1000 for name, of in systems.items() if of["rerank_ms"]
    }
    # Of a pipeline that is there both ways, the one without HTTP says what the rerank takes.
    shown = {
        name.partition(",")[0]: seconds
        for name, seconds in latency.items()
        if name.endswith("in process") or name.replace("HTTP", "in process") not in latency
    }
    rates = {
        name.partition(",")[0]: of["load"]["16"]["per_second"]
        for name, of in systems.items()
        if "16" in of["load"]
    }
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    candidates = found["plan"]["candidates"]
    _bars(left, shown, f"rerank of {candidates} candidates, seconds (median)")
    _bars(right, rates, "answers a second, 16 clients over HTTP")
    # Text stays text, and ids come from a salt: a diff shows what changed.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "secondpass"}):
        figure.savefig(out, metadata={"Date": None})


def _bars(axes: Any, values: Mapping[str, float], title: str) -> None:
    names = list(values)[::-1]
    colours = [OURS if name.startswith("secondpass") else OTHERS for name in names]
    bars = axes.barh(names, [values[name] for name in names], color=colours)
    axes.bar_label(bars, [f" {values[name]:.3g}" for name in names])
    axes.set_title(title, fontsize="medium")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
