"""Commands that measure rankings: evaluate retrieval, evaluate rerank."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from service.cli import labelled_pairs
from service.cli.options import SEARCH_SETTINGS, JsonOption, SystemOption, with_settings
from service.cli.progress import progress
from service.settings import Settings

if TYPE_CHECKING:
    from service.evaluation.retrieval import Evaluation


CollectionOption = Annotated[
    list[Path], typer.Option("--collection", help="BEIR folder; give the option again for more.")
]
QueriesOption = Annotated[
    int | None, typer.Option("--queries", min=1, help="Queries a collection, drawn at random.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the draw.")]
ChunkOption = Annotated[
    bool,
    typer.Option(
        "--chunk/--no-chunk",
        help="Cut long documents into passages, as the service does. Without, a document is "
        "one passage that ends with the encoder's window, as in published figures.",
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
    typer.Option("--systems", help="The same from a TOML file with a table for each system."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="Measure how good search is on labelled data.", no_args_is_help=True)
    group.command("retrieval")(with_settings(*SEARCH_SETTINGS)(evaluate_retrieval))
    group.command("rerank")(with_settings(*SEARCH_SETTINGS)(evaluate_rerank))
    labelled_pairs.register(group)
    app.add_typer(group, name="evaluate")


def evaluate_retrieval(
    collection: CollectionOption,
    settings: Settings,
    system: SystemOption = None,
    systems: SystemsOption = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="NAME=PATH",
            help="A ranking to compare: a TREC run file, or a folder of <collection>.trec files.",
        ),
    ] = None,
    queries: QueriesOption = None,
    seed: SeedOption = 0,
    chunk: ChunkOption = False,
    json_path: JsonOption = None,
    out: OutOption = None,
) -> None:
    """Rankings side by side, over the collections' own documents and queries.

    The first is the baseline. Without --system and --run: stage one beside the reranked order, with
    the settings given.
    """
    from service.evaluation.labelled import Draw
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
    collection: CollectionOption,
    settings: Settings,
    depth: Annotated[
        int, typer.Option(min=1, max=100, help="Documents of stage one that are reranked.")
    ] = 100,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help=escape("Share of the reranker in a fused order.  [default: 0.2, 0.4]"),
        ),
    ] = None,
    queries: QueriesOption = None,
    seed: SeedOption = 0,
    chunk: ChunkOption = False,
    json_path: JsonOption = None,
    out: OutOption = None,
) -> None:
    """The reranker over stage one's first documents: alone (pure) and fused with the cosine.

    Every query is reranked, whatever its language. Logits are kept in the cache folder, so that
    the command goes on where it was interrupted.
    """
    from service.errors import InvalidInputError
    from service.evaluation.labelled import Draw
    from service.evaluation.plots import check_plots
    from service.evaluation.retrieval import evaluate_reranker
    from service.evaluation.systems import System

    if settings.reranker == "none":
        raise InvalidInputError("--reranker: there is nothing to rerank with", "reranker")
    if out is not None:
        check_plots("out")
    weights = sorted(set(weight or [0.2, 0.4]))
    found = evaluate_reranker(
        collection,
        System(settings.reranker, settings),
        weights,
        depth,
        Draw(queries, seed, chunk),
        progress,
    )
    _show(found, json_path, out)


def _show(found: "Evaluation", json_path: Path | None, out: Path | None) -> None:
    from service.durable import write_json
    from service.evaluation.each import require_all
    from service.evaluation.outputs import write_comparison
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
        write_comparison(out, report, found.collections)
        typer.echo(f"\n{out}: report.json, report.md, queries.csv, runs/ and plots")
    require_all(found.failed, len(found.collections))
