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
    served = {name: of for name, of in found["systems"].items() if "16 clients" in of}
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    waited = {name: of["1 client"]["p50"] for name, of in served.items()}
    rates = {name: of["16 clients"]["per_second"] for name, of in served.items()}
    _bars(left, waited, "milliseconds that one client waits (median)")
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
