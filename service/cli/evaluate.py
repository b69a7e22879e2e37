"""Commands that measure rankings: evaluate retrieval, evaluate rerank."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from service.cli import labelled_pairs, options
from service.cli.progress import progress
from service.errors import InvalidInputError
from service.settings import NO_MODEL, Settings

if TYPE_CHECKING:
    from service.evaluation.comparison import Compared
    from service.evaluation.retrieval import Evaluation

ChunkOption = Annotated[
    bool,
    typer.Option(
        "--chunk/--no-chunk",
        help="Cut long documents into passages, as the service does. Otherwise a document is one "
        "passage that ends with the encoder's window, as in published figures.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Write JSON, Markdown, run files, each query's figures and plots to this folder."
    ),
]
SystemsOption = Annotated[
    Path | None,
    typer.Option("--systems", help="A TOML file with a table of settings for each system."),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Measure how good search is on labelled data.", no_args_is_help=True)
    group.command("retrieval")(options.with_settings(*options.SEARCH_SETTINGS)(evaluate_retrieval))
    group.command("rerank")(options.with_settings(*options.SEARCH_SETTINGS)(evaluate_rerank))
    labelled_pairs.register(group)
    app.add_typer(group, name="evaluate")


def evaluate_retrieval(
    collection: options.CollectionOption,
    settings: Settings,
    system: options.SystemOption = None,
    systems: SystemsOption = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="NAME=PATH",
            help="A ranking to compare: a TREC run file, or a folder of <collection>.trec files.",
        ),
    ] = None,
    queries: options.QueriesOption = None,
    seed: options.SeedOption = 0,
    chunk: ChunkOption = False,
    json_path: options.JsonOption = None,
    out: OutOption = None,
) -> None:
    """Compare rankings over the collections' own documents and queries.

    The first ranking is the baseline. Without --system and --run, stage one is compared to the
    reranked order.
    """
    from service.evaluation.observations import Draw
    from service.evaluation.plots import check_plots
    from service.evaluation.retrieval import evaluate_systems
    from service.evaluation.systems import (
        System,
        check_names,
        parse_run,
        parse_system,
        read_systems,
    )

    if out is not None:
        check_plots("out")
    runs = [parse_run(text) for text in run or []]
    chosen = read_systems(systems, settings) if systems else []
    chosen += [parse_system(text, settings) for text in system or []]
    check_names([*(s.name for s in chosen), *(r.name for r in runs)])
    if not chosen and not runs:
        chosen = [System("default", settings)]
    found = evaluate_systems(collection, chosen, runs, Draw(queries, seed, chunk), progress)
    _show(found, json_path, out)


def evaluate_rerank(
    collection: options.CollectionOption,
    settings: Settings,
    depth: Annotated[
        int, typer.Option(min=1, max=100, help="Documents of stage one to rerank.")
    ] = 100,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help=escape("Share of the reranker in a fused order.  [default: 0.2, 0.4]"),
        ),
    ] = None,
    queries: options.QueriesOption = None,
    seed: options.SeedOption = 0,
    chunk: ChunkOption = False,
    json_path: options.JsonOption = None,
    out: OutOption = None,
) -> None:
    """Measure the reranker over stage one's first documents: alone and fused with the cosine.

    Every query is reranked, whatever its language. Logits are kept in the cache folder, so an
    interrupted command continues where it stopped.
    """
    from service.evaluation.observations import Draw
    from service.evaluation.plots import check_plots
    from service.evaluation.retrieval import evaluate_reranker
    from service.evaluation.systems import System

    if settings.reranker == NO_MODEL:
        raise InvalidInputError("--reranker: there is nothing to rerank with", "reranker")
    if out is not None:
        check_plots("out")
    weights = sorted(set(weight or [0.2, 0.4]))
    system, draw = System(settings.reranker, settings), Draw(queries, seed, chunk)
    _show(evaluate_reranker(collection, system, weights, depth, draw, progress), json_path, out)


def _show(found: "Evaluation", json_path: Path | None, out: Path | None) -> None:
    from service.durable import write_json
    from service.evaluation.partial_results import require_all
    from service.evaluation.tables import difference_table, mean_table, ranking_table

    report = found.report
    for collection in report["collections"].values():
        for warning in collection["warnings"]:
            typer.echo(f"warning: {warning}", err=True)
    typer.echo(ranking_table(report["collections"]), nl=False)
    if report["mean"]:
        typer.echo("\n" + mean_table(report["mean"]), nl=False)
    for name, collection in report["collections"].items():
        if collection["comparisons"]:
            typer.echo(f"\n{name}\n\n{difference_table(collection['comparisons'])}", nl=False)
    if json_path is not None:
        write_json(json_path, report)
    if out is not None:
        _write(out, report, found.collections)
        typer.echo(f"\n{out}: report.json, report.md, queries.csv, runs/ and plots")
    require_all(found.failed, len(found.collections))


def _write(out: Path, report: dict[str, Any], collections: "list[Compared]") -> None:
    """Write the figures, the run files, which `--run` reads again, and the pictures."""
    from service.durable import write_json, write_text
    from service.evaluation import plots
    from service.evaluation.measures import CUTOFFS
    from service.evaluation.systems import write_run
    from service.evaluation.tables import query_table, report_markdown

    write_json(out / "report.json", report)
    write_text(out / "report.md", report_markdown(report))
    write_text(out / "queries.csv", query_table(collections))
    plots.save(plots.plot_measure(collections, "ndcg@10", report["seed"]), out / "ndcg@10.png")
    plots.save(plots.plot_cutoffs(collections, "accuracy", CUTOFFS), out / "accuracy.png")
    for compared in collections:
        for name, run in compared.runs.items():
            tag = name.replace(" ", "-")
            write_run(out / "runs" / tag / f"{compared.name}.trec", run, f"secondpass-{tag}")
        if len(compared.values) > 1:
            picture = plots.plot_differences(compared, "ndcg@10")
            plots.save(picture, out / f"differences-{compared.name}.png")
