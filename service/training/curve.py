"""The picture of a training: loss against steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Point = tuple[int, float]


def losses(history: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    """(step, value) of `loss` or `eval_loss` in a trainer's log, in its order."""
    return [(int(entry["step"]), float(entry[name])) for entry in history if name in entry]


def draw_losses(history: Sequence[Mapping[str, Any]], file: Path, *, title: str) -> None:
    """Write training and validation loss, and the best validation loss, as a PNG."""
    # Its import writes a cache of fonts, which reading a module of ours must not do.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    training, validation = losses(history, "loss"), losses(history, "eval_loss")
    if training:
        axes.plot(*zip(*training, strict=True), label="training", linewidth=1, color="tab:gray")
    if validation:
        axes.plot(*zip(*validation, strict=True), label="validation", marker="o", color="tab:blue")
        best = min(validation, key=lambda point: point[1])
        axes.plot(*best, marker="*", markersize=14, color="tab:red", linestyle="", label="kept")
    axes.set(title=title, xlabel="optimizer step", ylabel="loss")
    if training or validation:
        axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
