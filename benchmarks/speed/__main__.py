"""Measure all systems in one run and write the result: see docs/performance.md.

python -m benchmarks.speed [--quick] [--collection BEIR_FOLDER] [--rounds 8] [--only NAME ...]
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.speed.preparation import prepared
from benchmarks.speed.processes import ROOT
from benchmarks.speed.report import report, write
from benchmarks.speed.rounds import QUICK, Plan, Run

LATEST = ROOT / "benchmarks" / "results" / "latest.json"


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a try of two minutes; no result in the docs"
    )
    parser.add_argument("--collection", type=Path, help="a BEIR folder instead of made passages")
    parser.add_argument("--passages", type=int, help="documents, at most")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", nargs="*", default=(), help="parts of the systems' names")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench")
    parser.add_argument("--out", type=Path, help="the result; latest.json where all is measured")
    given = parser.parse_args()
    base = QUICK if given.quick else Plan()
    plan = replace(
        base, passages=given.passages or base.passages, rounds=given.rounds or base.rounds
    )
    began = time.perf_counter()
    # Told to end, it ends as from a keyboard: no server stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def say(text: str) -> None:
        sys.stderr.write(f"{time.perf_counter() - began:6.0f} s  {text}\n")

    there = prepared(given.work.resolve(), given.collection, plan.passages, given.only, say)
    measured = Run(plan, there, say).measure()
    whole = not (given.quick or given.only or given.collection)
    out = given.out or (LATEST if whole else given.work / "last.json")
    found = report(plan, there, measured, sys.argv[1:], time.perf_counter() - began)
    write(found, out, whole=whole)
    say(f"written: {out.name}")
    sys.stdout.write(
        json.dumps({key: found[key] for key in ("comparisons", "bars")}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
