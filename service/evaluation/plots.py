"""Pictures of an evaluation. matplotlib is needed here alone."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from service.durable import make_parents, new_file
from service.errors import InvalidInputError
from service.evaluation.comparison import Compared
from service.evaluation.significance import bootstrap_interval
from service.evaluation.tables import shown_measure
from service.extras import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def check_plots() -> None:
    """Raise `InvalidInputError` with the install line where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise InvalidInputError(
            f"the plots of --out need matplotlib: {install_command('train')}", "out"
        )


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


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG, whole or not at all. Raises `StoreError`."""
    make_parents(path)
    with new_file(path) as file:
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package

    return Figure(figsize=(width, height), layout="constrained")
