"""Figures as tables: Markdown, and CSV of each query."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.evaluation.comparison import Compared
from service.evaluation.pairs import FIGURES, SIMILARITIES

SHORT = ("ndcg@10", "mrr@10", "recall@100", "accuracy@1")

_SHOWN = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table that ends with a line feed."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def shown_measure(name: str) -> str:
    kind, at, cutoff = name.partition("@")
    return _SHOWN.get(kind, kind) + at + cutoff


def ranking_table(
    collections: Mapping[str, Mapping[str, Any]], measures: Sequence[str] = SHORT
) -> str:
    """A row for each collection and ranking; a collection has `queries` and `rankings`."""
    head = ["collection", "queries", "ranking", *map(shown_measure, measures)]
    rows = [
        [name, str(report["queries"]), ranking, *_values(found["measures"], measures)]
        for name, report in collections.items()
        for ranking, found in report["rankings"].items()
    ]
    return table(head, rows)


def mean_table(mean: Mapping[str, Any], measures: Sequence[str] = SHORT) -> str:
    head = [f"mean of {mean['collections']}", *map(shown_measure, measures)]
    rows = [[name, *_values(of, measures)] for name, of in mean["rankings"].items()]
    return table(head, rows)


def difference_table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """A row for each ranking and measure: the difference, its intervals, the test."""
    head = [
        "ranking", "against", "measure", "difference", "95 % (t)", "95 % (bootstrap)", "p (t-test)",
        "won / lost / tied",
    ]  # fmt: skip
    rows = []
    for found in comparisons:
        tested = "p" in found
        drawn = _interval(found["bootstrap_low"], found["bootstrap_high"])
        rows.append([
            found["ranking"], found["baseline"], shown_measure(found["measure"]),
            f"{found['mean']:+.4f}", _interval(found["low"], found["high"]) if tested else "",
            drawn,
            f"{found['p']:.3g}" if tested else "",
            f"{found['won']} / {found['lost']} / {found['tied']}" if tested else "",
        ])  # fmt: skip
    return table(head, rows)


def report_markdown(report: Mapping[str, Any]) -> str:
    """The whole report of `evaluate retrieval` or `evaluate rerank`."""
    collections = report["collections"]
    first = next(iter(next(iter(collections.values()))["rankings"].values()))
    measures = list(first["measures"])
    parts = [f"# {report['title']}\n", origin(report)]
    if failed := report.get("failed"):
        reasons = "".join(f"- {name}: {reason}\n" for name, reason in failed.items())
        parts += ["## Not measured\n", reasons]
    if report.get("mean"):
        comparisons = report["mean"]["comparisons"]
        parts += ["## Mean of the collections\n", mean_table(report["mean"], measures)]
        parts += [difference_table(comparisons)] if comparisons else []
    for name, found in collections.items():
        parts += [f"## {name}\n", f"data SHA-256 `{found['data_sha256']}`\n"]
        parts += [f"{warning}\n" for warning in found.get("warnings", ())]
        parts.append(ranking_table({name: found}, measures))
        if found["comparisons"]:
            parts.append(difference_table(found["comparisons"]))
    return "\n".join(parts)


def query_table(collections: Sequence[Compared]) -> str:
    """Each query's measures in each ranking, as CSV."""
    measures = list(next(iter(collections[0].values.values())))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["collection", "query", "ranking", *measures])
    for compared in collections:
        for query in sorted(next(iter(compared.values.values()))["ndcg@10"]):
            for name, values in compared.values.items():
                shown = [f"{values[m][query]:.6g}" for m in measures]
                rows.writerow([compared.name, query, name, *shown])
    return text.getvalue()


def origin(report: Mapping[str, Any]) -> str:
    lines = [f"- secondpass {report['version']}, commit {report['commit'] or 'unknown'}"]
    lines.append(f"- seed {report['seed']}")
    for name, system in report.get("systems", {}).items():
        models = system.get("models", {})
        parts = [
            f"{kind} {model['model']} (`{model['weights_sha256'][:12]}`)"
            for kind in ("encoder", "reranker")
            if (model := models.get(kind))
        ]
        lines.append(f"- {name}: {', '.join(parts) or system.get('run', 'no reranker')}")
    return "\n".join(lines) + "\n"


def pair_table(systems: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each model and similarity of `evaluate pairs`.

    A second table has the figures at thresholds that were learned elsewhere, if there are any.
    """
    rows = []
    for name, report in systems.items():
        for by in (*SIMILARITIES, "max"):
            shown = _values(report["figures"], [f"{by}_{figure}" for figure in FIGURES])
            rows.append([name, str(report["pairs"]), by, *shown])
    head = ["model", "pairs", "by", *(figure.replace("_", " ") for figure in FIGURES)]
    learned = [
        [name, by, figure, *(f"{value:.4f}" for value in at.values())]
        for name, report in systems.items()
        for by, found in report.get("at_learned_threshold", {}).items()
        for figure, at in found.items()
    ]
    first = table(head, rows)
    if not learned:
        return first
    head = ["model", "by", "learned for", "threshold", "accuracy", "f1", "precision", "recall"]
    return f"{first}\n{table(head, learned)}"


def classification_table(systems: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(next(iter(systems.values()))["figures"])
    rows = [[name, *_values(report["figures"], names)] for name, report in systems.items()]
    return table(["model", *(name.replace("_", " ") for name in names)], rows)


def _values(measures: Mapping[str, float], names: Sequence[str]) -> list[str]:
    found = (measures[name] for name in names)
    return [str(value) if isinstance(value, int) else f"{value:.4f}" for value in found]


def _interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}"
