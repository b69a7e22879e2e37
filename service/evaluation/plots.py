"""Pictures of figures. matplotlib is needed here alone."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from service.durable import make_parents, new_file
from service.errors import InvalidInputError
from service.evaluation.comparison import Compared
from service.evaluation.depth import DepthRow
from service.evaluation.significance import bootstrap_interval
from service.evaluation.tables import shown_measure
from service.extras import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def check_plots(option: str, otherwise: str = "") -> None:
    """Raise `InvalidInputError` where matplotlib, which this option needs, is missing.

    The message has the install command and `otherwise`, how to do without.
    """
    if find_spec("matplotlib") is None:
        need = f"the pictures of --{option} need matplotlib: {install_command('train')}"
        raise InvalidInputError(need + otherwise, option)


def plot_measure(collections: Sequence[Compared], measure: str, seed: int) -> "Figure":
    """A bar for each collection and ranking: the measure's mean with its 95 % interval."""
    names = list(collections[0].values)
    figure = _figure(max(6.0, 0.5 * len(names) * len(collections) + 3.0), 4.0)
    axes = figure.subplots()
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        values = [list(c.values[name][measure].values()) for c in collections]
        heights = [float(np.mean(v)) for v in values]
        bounds = np.array([bootstrap_interval(v, seed) for v in values])
        errors = np.abs(bounds.T - np.array(heights))
        left = np.arange(len(collections)) + (place - (len(names) - 1) / 2) * width
        axes.bar(left, heights, width * 0.95, label=name, yerr=errors, capsize=2)
    axes.set_xticks(range(len(collections)), [c.name for c in collections], rotation=20, ha="right")
    axes.set_ylabel(shown_measure(measure))
    axes.set_ylim(0.0, 1.0)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def plot_differences(compared: Compared, measure: str) -> "Figure":
    """Each query's difference to the first ranking, from the most lost to the most won."""
    baseline, *others = compared.values
    before = compared.values[baseline][measure]
    figure = _figure(7.0, 4.0)
    axes = figure.subplots()
    for name in others:
        after = compared.values[name][measure]
        axes.plot(sorted(after[query] - before[query] for query in before), label=name)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_title(f"{compared.name}: what changed from {baseline}")
    axes.set_xlabel("queries, in the order of the difference")
    axes.set_ylabel(f"difference in {shown_measure(measure)}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def plot_cutoffs(collections: Sequence[Compared], kind: str, cutoffs: Sequence[int]) -> "Figure":
    """A measure at several cut-offs (`accuracy` at 1, 3, 5, 10): its mean over collections."""
    figure = _figure(6.0, 4.0)
    axes = figure.subplots()
    for name in collections[0].values:
        means = [
            float(
                np.mean([np.mean([*c.values[name][f"{kind}@{k}"].values()]) for c in collections])
            )
            for k in cutoffs
        ]
        axes.plot(cutoffs, means, marker="o", label=name)
    axes.set_xticks(cutoffs)
    axes.set_xlabel("k")
    axes.set_ylabel(f"{kind}@k")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def plot_scores(
    scores: ArrayLike, labels: Sequence[int], marks: Mapping[str, float], label: str
) -> "Figure":
    """How the scores of pairs with label 1 and 0 lie, with a line at each threshold in `marks`."""
    values, truth = np.asarray(scores, float), np.asarray(labels).astype(bool)
    figure = _figure(6.5, 4.0)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(values, bins=40).tolist()
    axes.hist(values[~truth], edges, alpha=0.6, label="label 0")
    axes.hist(values[truth], edges, alpha=0.6, label="label 1")
    for number, (name, at) in enumerate(marks.items()):
        style = ("--", ":", "-.")[number % 3]
        axes.axvline(at, color="black", linestyle=style, label=f"{name.replace('_', ' ')} {at:.3f}")
    axes.set_xlabel(label)
    axes.set_ylabel("pairs")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def plot_reliability(report: Mapping[str, Any], thresholds: Mapping[str, float | None]) -> "Figure":
    """A reliability diagram of `service.evaluation.calibrating.confidence`, with bin sizes below.

    Each point is a bin of hits: how likely they were said to be against how many were relevant,
    with its 95 % Wilson interval. Dashed lines stand where a word begins.
    """
    figure = _figure(5.5, 6.0)
    axes, sizes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = report["reliability"]
    said = [row["probability"] for row in bins]
    found = [row["found"] for row in bins]
    below = [max(0.0, row["found"] - row["low"]) for row in bins]
    above = [max(0.0, row["high"] - row["found"]) for row in bins]
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.errorbar(said, found, yerr=(below, above), marker="o", capsize=2)
    for word, at in thresholds.items():
        if at is not None:
            axes.axvline(at, color="black", linestyle="--", linewidth=0.8)
            axes.text(at, 0.02, f" {word}", rotation=90)
    axes.set_ylabel("share of relevant hits, held out")
    axes.set_title(f"ECE {report['ece']:.4f}, Brier {report['brier']:.4f}, {report['hits']} hits")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    sizes.bar(said, [row["n"] for row in bins], width=0.04)
    sizes.set_yscale("log")
    sizes.set_xlim(0, 1)
    sizes.set_xlabel("probability")
    sizes.set_ylabel("hits")
    return figure


def plot_depths(rows: Sequence[DepthRow], chosen: DepthRow) -> "Figure":
    """nDCG@10 against depth with the loss's interval, and the rerank's time where it is known."""
    figure = _figure(6.5, 4.0)
    axes = figure.subplots()
    depths = [row.depth for row in rows]
    ndcg = [row.ndcg for row in rows]
    below = [max(0.0, row.high - row.loss) for row in rows]
    above = [max(0.0, row.loss - row.low) for row in rows]
    axes.errorbar(depths, ndcg, yerr=(below, above), marker="o", capsize=2, label="nDCG@10")
    axes.axvline(chosen.depth, color="black", linestyle="--", label=f"depth {chosen.depth}")
    axes.set_xlabel("candidates reranked")
    axes.set_ylabel("nDCG@10")
    axes.grid(alpha=0.3)
    timed = [(row.depth, row.ms) for row in rows if row.ms is not None]
    if timed:
        cost = axes.twinx()
        cost.plot(*zip(*timed, strict=True), color="tab:orange", marker=".", label="rerank")
        cost.set_ylabel("rerank, ms a query")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG, whole or not at all. Raises `StoreError`."""
    make_parents(path)
    with new_file(path) as file:
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package

    return Figure(figsize=(width, height), layout="constrained")
