"""Measure some parts and keep their figures: see docs/performance.md.

python -m benchmarks.growth [size depth length ingest memory] [--short]
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.docs import fill
from benchmarks.growth.curves import draw
from benchmarks.growth.texts import SEED
from benchmarks.speed.machine import machine
from benchmarks.speed.processes import ROOT
from service.evaluation.provenance import provenance
from service.memory import keep_freed_memory

RESULT = ROOT / "benchmarks" / "results" / "growth.json"
PICTURE = ROOT / "docs" / "growth.svg"
AS_SERVED = {"depth", "length", "ingest"}
"""Parts in this process of what the command line runs, and so with the allocator as there."""

TITLES = {"depth": "candidates", "length": "length of passages", "size": "size of the index"}


def parts(short: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """Name -> what measures it; what it needs is imported when it is asked for."""

    def depth() -> dict[str, Any]:
        from benchmarks.growth import rerank  # noqa: PLC0415

        return rerank.depth(2 if short else 7)

    def length() -> dict[str, Any]:
        from benchmarks.growth import rerank  # noqa: PLC0415

        return rerank.length(2 if short else 7, 8 if short else 20)

    def size() -> dict[str, Any]:
        from benchmarks.growth import index  # noqa: PLC0415

        return index.size(10_000 if short else 1_000_000, ("clusters", "sse"))

    def ingest() -> dict[str, Any]:
        from benchmarks.growth import ingest as rates  # noqa: PLC0415

        return rates.ingest(2_000 if short else 100_000)

    def memory() -> dict[str, Any]:
        from benchmarks.growth import ingest as rates  # noqa: PLC0415

        return rates.memory(2_000, 3) if short else rates.memory(100_000, 50)

    # `size` first: what it measures is blurred once the allocator keeps what is freed.
    return {each.__name__: each for each in (size, depth, length, ingest, memory)}


def main() -> None:
    """Read the arguments."""
    known = parts(short=False)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", help=f"some of {', '.join(known)}; default: all")
    parser.add_argument("--short", action="store_true", help="a try; writes no result")
    given = parser.parse_args()
    if unknown := set(given.part) - known.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name, measure in parts(given.short).items():
        if given.part and name not in given.part:
            continue
        sys.stderr.write(f"{name}\n")
        if name in AS_SERVED:
            keep_freed_memory()
        measured = {**provenance(SEED), "machine": machine(), **measure()}
        if given.short:
            sys.stdout.write(json.dumps({name: measured}, indent=2) + "\n")
            continue
        found[name] = measured
        keep(found)


def keep(found: dict[str, Any], result: Path = RESULT) -> None:
    """Write result, picture and tables with what was measured so far."""
    result.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    panels = [(title, found[name]["curves"]) for name, title in TITLES.items() if name in found]
    if panels:
        draw(panels, PICTURE)
    fill()


if __name__ == "__main__":
    main()
