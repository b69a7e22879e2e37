"""The files that an evaluation leaves: JSON, Markdown, run files, a table of queries, pictures."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.durable import write_json, write_text
from service.evaluation.comparison import Compared
from service.evaluation.measures import CUTOFFS
from service.evaluation.plots import plot_cutoffs, plot_differences, plot_measure, save
from service.evaluation.tables import report_markdown
from service.evaluation.trec_runs import write_run


def write_comparison(out: Path, report: Mapping[str, Any], collections: Sequence[Compared]) -> None:
    """Everything about rankings into the folder `out`. Raises `StoreError`.

    `report.json`, `report.md`, `queries.csv` (each query's measures), `runs/<ranking>/
    <collection>.trec`, which `--run` reads again, and pictures: `ndcg@10.png`, `accuracy.png` and
    for each collection `differences-<collection>.png`.
    """
    write_json(out / "report.json", report)
    write_text(out / "report.md", report_markdown(report))
    write_text(out / "queries.csv", _query_table(collections))
    for compared in collections:
        for name, run in compared.runs.items():
            tag = name.replace(" ", "-")
            write_run(out / "runs" / tag / f"{compared.name}.trec", run, f"secondpass-{tag}")
    seed = report["seed"]
    save(plot_measure(collections, "ndcg@10", seed), out / "ndcg@10.png")
    save(plot_cutoffs(collections, "accuracy", CUTOFFS), out / "accuracy.png")
    for compared in collections:
        if len(compared.values) > 1:
            picture = plot_differences(compared, "ndcg@10")
            save(picture, out / f"differences-{compared.name}.png")


def _query_table(collections: Sequence[Compared]) -> str:
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
