"""Fill the tables of the documentation from the results: no figure is copied by hand.

python -m benchmarks.docs [--check]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.growth import tables as growth
from benchmarks.markdown import filled
from benchmarks.speed import tables as speed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")


def all_tables(results: Path = RESULTS) -> dict[str, str]:
    """Of `latest.json` and `growth.json`, as far as they are there."""
    found: dict[str, str] = {}
    for name, modules in (("latest", (speed,)), ("growth", (growth,))):
        path = results / f"{name}.json"
        if path.exists():
            measured = json.loads(path.read_text(encoding="utf-8"))
            for module in modules:
                found |= module.tables(measured)
    return found


def fill(pages: Sequence[Path] = PAGES, *, check: bool = False) -> bool:
    """Write the pages, or only look; False where one was not as it should be."""
    tables, same = all_tables(), True
    for page in pages:
        before = page.read_text(encoding="utf-8")
        after = filled(before, tables)
        same = same and before == after
        if not check and before != after:
            page.write_text(after, encoding="utf-8")
    return same


def main() -> None:
    """Read the arguments; with --check status 1 where a page differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    sys.exit(0 if fill(check=check) or not check else 1)


if __name__ == "__main__":
    main()
