"""How much a few labels improve probabilities: `confidence.adjust` on queries that it did not see.

    python -m benchmarks.few_labels --collection ../shared/data/cisi \
        --collection ../shared/data/tydiqa-en-dev > benchmarks/results/few-labels.json

A person labels the first ten hits of 1, 2, 5, 10 or 20 queries, which are drawn 60 times. Measured
are the first ten hits of all other queries: log loss, Brier score and ECE with the shipped curve
and with the adjusted one, and the share of draws after which the log loss was higher.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import brier_score_loss, log_loss

from service.cli.progress import progress
from service.confidence.adjust import adjust_curve
from service.confidence.calibration import Curve
from service.confidence.quality import expected_calibration_error
from service.engine.build import encoder_identity
from service.engine.calibrations import Calibrations
from service.errors import InvalidInputError
from service.evaluation.calibrating import collect_hits
from service.evaluation.candidates import Observed
from service.evaluation.observations import Draw, observe_all
from service.evaluation.provenance import provenance
from service.evaluation.report import SHOWN_HITS
from service.settings import Settings

LABELLED = (1, 2, 5, 10, 20)
DRAWS = 60
SEED = 0


def main() -> None:
    """Write the figures as JSON to standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--collection", type=Path, action="append", required=True)
    parser.add_argument("--queries", type=int, default=150)
    asked = parser.parse_args()
    settings, paths = Settings(), asked.collection
    draw = Draw(asked.queries, SEED, chunked=True)
    seen = observe_all(settings, paths, draw, progress, lambda _: None)
    curve = shipped_curve(settings)
    figures = {one.name: measure(one, curve) for one in seen.collections.values()}
    head = {**provenance(SEED), "draws": DRAWS, "data": seen.data}
    sys.stdout.write(json.dumps({**head, "collections": figures}, indent=2) + "\n")


def shipped_curve(settings: Settings) -> Curve:
    """The curve over logits that is shipped for these models."""
    calibrations = Calibrations(Path("none"), settings, encoder_identity(settings), None)
    if calibrations.base is None:
        raise InvalidInputError("no calibration is shipped for these models")
    return calibrations.base.curves["rerank"]


def measure(observed: Observed, curve: Curve) -> list[dict[str, Any]]:
    """A row for each number of labelled queries; means over the draws."""
    judged = Observed(
        observed.name,
        {  # what has no grade in these collections is not relevant
            query: dict.fromkeys(search.answered.documents, 0) | dict(observed.qrels.get(query, {}))
            for query, search in observed.searches.items()
        },
        observed.searches,
    )
    hits = collect_hits([judged], {"*": 1.0}, 100, judged=True)["rerank"]
    rows = {
        query: hits[hits["query"] == query][:SHOWN_HITS] for query in sorted(set(hits["query"]))
    }
    random = np.random.default_rng(SEED)
    return [_row(rows, curve, count, random) for count in LABELLED]


def _row(
    rows: dict[str, Any], curve: Curve, count: int, random: np.random.Generator
) -> dict[str, Any]:
    found, refused = [], 0
    for _ in range(DRAWS):
        order = random.permutation(list(rows))
        labelled, rest = (
            np.concatenate([rows[query] for query in part])
            for part in (order[:count], order[count:])
        )
        queries = labelled["query"].tolist()
        try:
            adjusted = adjust_curve(curve, labelled["score"], labelled["label"], queries).curve
        except InvalidInputError:  # all hits alike
            refused += 1
            continue
        found.append([_quality(one, rest) for one in (curve, adjusted)])
    before, after = np.array(found).transpose(1, 0, 2)
    names = ("log_loss", "brier", "ece")
    return {
        "queries": count,
        "refused": refused,
        "before": dict(zip(names, before.mean(axis=0).round(4).tolist(), strict=True)),
        "after": dict(zip(names, after.mean(axis=0).round(4).tolist(), strict=True)),
        "worse": round(float((after[:, 0] > before[:, 0]).mean()), 3),
    }


def _quality(curve: Curve, hits: Any) -> tuple[float, float, float]:
    p = np.clip(curve.probability(hits["score"].tolist()), 1e-6, 1 - 1e-6)
    y = hits["label"].astype(int)
    return float(log_loss(y, p)), float(brier_score_loss(y, p)), expected_calibration_error(p, y)


if __name__ == "__main__":
    main()
