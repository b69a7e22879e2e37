"""Compare rankings of the same queries, per collection and on the mean of collections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.evaluation.measures import Qrels, means, per_query
from service.evaluation.significance import bootstrap_interval, difference_of
from service.evaluation.systems import ScoredRun

TESTED = ("ndcg@10", "mrr@10", "accuracy@1", "recall@100")
"""Measures whose differences are tested and whose means get an interval."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One collection: its rankings by name; the first is the baseline.

    `values`: ranking -> measure -> query -> value. `details` is added to the collection's report.
    """

    name: str
    folder: Path
    data_sha256: str
    runs: Mapping[str, ScoredRun]
    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        return len(next(iter(self.values.values()))["ndcg@10"])

    def differences(self, baseline: str, name: str, measured: str) -> list[float]:
        """What changed in each query, by query id, from one ranking to another."""
        before, after = self.values[baseline][measured], self.values[name][measured]
        return [after[query] - before[query] for query in sorted(before)]


def measure(runs: Mapping[str, ScoredRun], qrels: Qrels) -> dict[str, dict[str, dict[str, float]]]:
    """Ranking -> measure -> query -> value of each run, over the same queries of `qrels`."""
    return {
        name: per_query(qrels, {q: [document for document, _ in hits] for q, hits in run.items()})
        for name, run in runs.items()
    }


def compared_report(compared: Compared, seed: int) -> dict[str, Any]:
    """A collection's figures for JSON: means and intervals of each ranking, and the differences."""
    rankings = {}
    for name, values in compared.values.items():
        spread = {m: bootstrap_interval(list(values[m].values()), seed) for m in TESTED}
        rankings[name] = {
            "measures": means(values),
            "intervals": {m: {"low": low, "high": high} for m, (low, high) in spread.items()},
        }
    return {
        "folder": compared.folder.name,
        "data_sha256": compared.data_sha256,
        "queries": compared.queries,
        "rankings": rankings,
        "comparisons": _comparisons(compared, seed),
        **compared.details,
    }


def mean_report(collections: Sequence[Compared], seed: int) -> dict[str, Any]:
    """Each ranking's mean over equally weighted collections, and its difference to the baseline.

    The interval of a difference is the bootstrap's, drawn within each collection.
    """
    names = list(collections[0].values)
    rankings = {}
    for name in names:
        of = [means(compared.values[name]) for compared in collections]
        rankings[name] = {measure: sum(m[measure] for m in of) / len(of) for measure in of[0]}
    comparisons = []
    for name in names[1:]:
        for measured in TESTED:
            samples = [c.differences(names[0], name, measured) for c in collections]
            low, high = bootstrap_interval(samples[0], seed, *samples[1:])
            mean = rankings[name][measured] - rankings[names[0]][measured]
            comparisons.append({
                "baseline": names[0], "ranking": name, "measure": measured,
                "mean": mean, "bootstrap_low": low, "bootstrap_high": high,
            })  # fmt: skip
    return {"collections": len(collections), "rankings": rankings, "comparisons": comparisons}


def _comparisons(compared: Compared, seed: int) -> list[dict[str, Any]]:
    baseline, *others = compared.values
    return [
        {
            "baseline": baseline,
            "ranking": name,
            "measure": measured,
            **difference_of(compared.differences(baseline, name, measured), seed),
        }
        for name in others
        for measured in TESTED
    ]
