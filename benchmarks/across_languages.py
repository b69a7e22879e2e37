"""Figures of `secondpass evaluate rerank --out DIR` on `aligned_help.py`, by query language.

    python benchmarks/across_languages.py DIR [DIR ...] > benchmarks/results/across-languages.json

A pair is a query's language and its collection: `vi to en-us`. Each ranking's nDCG@10 stands beside
the difference to stage one with its 95 % interval (paired t), and the least and mean difference
over all pairs.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from service.evaluation.significance import paired

BASE = "retrieval"
Values = dict[str, dict[str, float]]


def main() -> None:
    """Write the figures as JSON to standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="+")
    folders = parser.parse_args().folder
    pairs: dict[str, Values] = defaultdict(lambda: defaultdict(dict))
    sources = {}
    for folder in folders:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        sources |= {name: one["data_sha256"] for name, one in report["collections"].items()}
        with (folder / "queries.csv").open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                language = row["query"].rsplit("-", 2)[0].removeprefix("q").lower()
                of = pairs[f"{language} {row['collection'].replace('-', ' ', 1)}"]
                of[row["ranking"]][row["query"]] = float(row["ndcg@10"])
    figures = {name: _pair(values) for name, values in sorted(pairs.items())}
    kept = ("version", "commit", "versions", "systems")
    report = {
        **{key: report[key] for key in kept},
        "data": sources,
        "pairs": figures,
        "all": _all(figures),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _pair(values: Values) -> dict[str, Any]:
    base = values[BASE]
    return {
        "queries": len(base),
        "ndcg@10": {name: float(np.mean(list(of.values()))) for name, of in values.items()},
        "differences": {
            name: {key: found[key] for key in ("mean", "low", "high")}
            for name, of in values.items()
            if name != BASE
            for found in [paired(base, of)]
        },
    }


def _all(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean and the least difference over the pairs, which weigh alike."""
    names = next(iter(figures.values()))["differences"]
    of = {n: [one["differences"][n]["mean"] for one in figures.values()] for n in names}
    return {name: {"mean": float(np.mean(d)), "least": min(d)} for name, d in of.items()}


if __name__ == "__main__":
    main()
