"""Pictures of a calibration and of the rerank's depth. matplotlib is needed to make them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.errors import InvalidInputError
from service.evaluation.depth import DepthRow
from service.extras import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_plots() -> None:
    """Raise `InvalidInputError` with the install line where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise InvalidInputError(
            f"the picture needs matplotlib: {install_command('train')}; or leave it out with "
            "--no-picture",
            "picture",
        )


def plot_reliability(report: Mapping[str, Any], thresholds: Mapping[str, float | None]) -> "Figure":
    """A reliability diagram of `service.evaluation.calibration.confidence`, with bin sizes below.

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


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package

    return Figure(figsize=(width, height), layout="constrained")
