"""Pictures of figures. Only this module needs matplotlib."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.durable import make_parents, new_file
from service.errors import InvalidInputError
from service.evaluation.comparison import Compared
from service.evaluation.depth import DepthRow
from service.evaluation.measures import means
from service.evaluation.significance import bootstrap_interval
from service.evaluation.tables import shown_measure
from service.extras import install_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def check_plots(option: str, otherwise: str = "") -> None:
    """Raise `InvalidInputError` if matplotlib, which this option needs, is missing.

    The message has the install command and `otherwise`, how to do without it.
    """
    if find_spec("matplotlib") is None:
        need = f"the pictures of --{option} need matplotlib: {install_command('train')}"
        raise InvalidInputError(need + otherwise, option)


def plot_measure(collections: Sequence[Compared], measure: str, seed: int) -> "Figure":
    """A bar for each collection and ranking: the measure's mean with its 95 % interval."""
    names = list(collections[0].values)
    size = max(6.0, 0.5 * len(names) * len(collections) + 3.0), 4.0
    figure, axes = _axes(size, "", shown_measure(measure), grid="y")
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        values = [list(c.values[name][measure].values()) for c in collections]
        heights = [float(np.mean(v)) for v in values]
        bounds = np.array([bootstrap_interval(v, seed) for v in values])
        errors = np.abs(bounds.T - np.array(heights))
        left = np.arange(len(collections)) + (place - (len(names) - 1) / 2) * width
        axes.bar(left, heights, width * 0.95, label=name, yerr=errors, capsize=2)
    axes.set_xticks(range(len(collections)), [c.name for c in collections], rotation=20, ha="right")
    axes.set_ylim(0.0, 1.0)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def plot_differences(compared: Compared, measure: str) -> "Figure":
    """Each query's difference to the first ranking, from the largest loss to the largest gain."""
    baseline, *others = compared.values
    label = f"difference in {shown_measure(measure)}"
    figure, axes = _axes((7.0, 4.0), "queries, in the order of the difference", label)
    for name in others:
        axes.plot(sorted(compared.differences(baseline, name, measure)), label=name)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_title(f"{compared.name}: what changed from {baseline}")
    axes.legend(frameon=False)
    return figure


def plot_cutoffs(collections: Sequence[Compared], kind: str, cutoffs: Sequence[int]) -> "Figure":
    """A measure at several cut-offs (`accuracy` at 1, 3, 5, 10): its mean over collections."""
    figure, axes = _axes((6.0, 4.0), "k", f"{kind}@k")
    of = [{name: means(values) for name, values in c.values.items()} for c in collections]
    for name in collections[0].values:
        shown = [float(np.mean([c[name][f"{kind}@{k}"] for c in of])) for k in cutoffs]
        axes.plot(cutoffs, shown, marker="o", label=name)
    axes.set_xticks(cutoffs)
    axes.legend(frameon=False)
    return figure


def plot_scores(
    scores: ArrayLike, labels: Sequence[int], marks: Mapping[str, float], label: str
) -> "Figure":
    """Histograms of the scores of pairs with label 1 and 0, with a line at each mark."""
    values, truth = np.asarray(scores, float), np.asarray(labels).astype(bool)
    figure, axes = _axes((6.5, 4.0), label, "pairs")
    edges = np.histogram_bin_edges(values, bins=40).tolist()
    axes.hist(values[~truth], edges, alpha=0.6, label="label 0")
    axes.hist(values[truth], edges, alpha=0.6, label="label 1")
    for (name, at), style in zip(marks.items(), cycle(("--", ":", "-."))):
        axes.axvline(at, color="black", linestyle=style, label=f"{name.replace('_', ' ')} {at:.3f}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def plot_reliability(report: Mapping[str, Any], thresholds: Mapping[str, float | None]) -> "Figure":
    """A reliability diagram of `evaluation.calibrating.confidence`, with bin sizes below.

    Each point is a bin of hits: their mean probability against the share that is relevant, with its
    95 % Wilson interval. A dashed line shows where a word begins.
    """
    figure = _figure(5.5, 6.0)
    axes, sizes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = report["reliability"]
    probabilities, found = ([row[key] for row in bins] for key in ("probability", "found"))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    errors = _errors(found, [row["low"] for row in bins], [row["high"] for row in bins])
    axes.errorbar(probabilities, found, yerr=errors, marker="o", capsize=2)
    for word, at in thresholds.items():
        if at is not None:
            axes.axvline(at, color="black", linestyle="--", linewidth=0.8)
            axes.text(at, 0.02, f" {word}", rotation=90)
    axes.set_ylabel("share of relevant hits, held out")
    axes.set_title(f"ECE {report['ece']:.4f}, Brier {report['brier']:.4f}, {report['hits']} hits")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    sizes.bar(probabilities, [row["n"] for row in bins], width=0.04)
    sizes.set(yscale="log", xlim=(0, 1), xlabel="probability", ylabel="hits")
    return figure


def plot_depths(rows: Sequence[DepthRow], chosen: DepthRow) -> "Figure":
    """nDCG@10 against depth with the loss's interval, and the rerank's time if it is known."""
    figure, axes = _axes((6.5, 4.0), "candidates reranked", "nDCG@10")
    losses = [row.loss for row in rows]
    errors = _errors(losses, [row.low for row in rows], [row.high for row in rows])[::-1]
    depths, ndcg = [row.depth for row in rows], [row.ndcg for row in rows]
    axes.errorbar(depths, ndcg, yerr=errors, marker="o", capsize=2, label="nDCG@10")
    axes.axvline(chosen.depth, color="black", linestyle="--", label=f"depth {chosen.depth}")
    if timed := [(row.depth, row.ms) for row in rows if row.ms is not None]:
        cost = axes.twinx()
        cost.plot(*zip(*timed, strict=True), color="tab:orange", marker=".", label="rerank")
        cost.set_ylabel("rerank, ms a query")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def plot_losses(history: Sequence[Mapping[str, Any]], title: str) -> "Figure":
    """Training and validation loss of a trainer's log against steps; the best is marked."""
    figure, axes = _axes((7.0, 4.0), "optimizer step", "loss")
    training, validation = (
        [(row["step"], row[name]) for row in history if name in row]
        for name in ("loss", "eval_loss")
    )
    if training:
        axes.plot(*zip(*training, strict=True), label="training", linewidth=1, color="tab:gray")
    if validation:
        axes.plot(*zip(*validation, strict=True), label="validation", marker="o", color="tab:blue")
        best = min(validation, key=lambda point: point[1])
        axes.plot(*best, marker="*", markersize=14, color="tab:red", linestyle="", label="kept")
    axes.set_title(title)
    if training or validation:
        axes.legend(frameon=False)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG, whole or not at all. Raises `StoreError`."""
    make_parents(path)
    with new_file(path) as file:
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH)


def _errors(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """How far an interval reaches below and above each value, shape (2, n)."""
    return np.maximum(0.0, [np.subtract(values, low), np.subtract(high, values)])


def _axes(
    size: tuple[float, float], x: str, y: str, grid: Literal["both", "y"] = "both"
) -> "tuple[Figure, Axes]":
    figure = _figure(*size)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(axis=grid, alpha=0.3)
    return figure, axes


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package

    return Figure(figsize=(width, height), layout="constrained")
