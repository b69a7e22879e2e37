"""Points of time against a size, and the exponent that fits them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Curve:
    """Milliseconds at each size, and the power of the size that is expected."""

    name: str
    unit: str
    sizes: tuple[float, ...]
    milliseconds: tuple[float, ...]
    expected: float

    def figures(self) -> dict[str, Any]:
        """As JSON; `exponent` of all points, `exponent_upper` of the larger half of them.

        A fixed cost flattens the small sizes: what holds for large ones is in the larger half.
        """
        half = len(self.sizes) // 2
        found = asdict(self) | {"exponent": exponent(self.sizes, self.milliseconds)}
        if len(self.sizes) - half >= 2:
            upper = exponent(self.sizes[half:], self.milliseconds[half:])
            found["exponent_upper"] = upper
        return found


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The slope of log time over log size by least squares; both above 0, two sizes at least."""
    if len(set(sizes)) < 2 or min(*sizes, *times) <= 0:
        raise ValueError("an exponent needs two different sizes, and nothing that is 0")
    slope, _ = np.polyfit(np.log(sizes), np.log(times), 1)
    return round(float(slope), 3)


def in_turn(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median milliseconds of each, run in turn after one run that is not counted."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for place, work in enumerate(works):
            began = perf_counter()
            work()
            if number:
                times[place].append(1000 * (perf_counter() - began))
    return [round(median(of), 3) for of in times]


def draw(parts: Sequence[tuple[str, Sequence[dict[str, Any]]]], out: Path) -> None:
    """A panel a part, both axes logarithmic; dashed: what is expected, through the last point."""
    figure = Figure(figsize=(4.2 * len(parts), 3.6), layout="constrained")
    for axes, (title, curves) in zip(
        figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True
    ):
        for curve in curves:
            sizes, times = np.array(curve["sizes"]), np.array(curve["milliseconds"])
            label = f"{curve['name']}: {curve['exponent']:.2f}"
            (line,) = axes.plot(sizes, times, marker="o", markersize=3, label=label)
            if curve["expected"]:
                expected = times[-1] * (sizes / sizes[-1]) ** curve["expected"]
                axes.plot(sizes, expected, "--", linewidth=0.8, color=line.get_color())
            axes.set_xlabel(curve["unit"])
        axes.set(xscale="log", yscale="log", title=title)
        axes.legend(title="exponent", fontsize="x-small", title_fontsize="x-small")
    figure.axes[0].set_ylabel("milliseconds")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "secondpass"}):
        figure.savefig(out, metadata={"Date": None})
