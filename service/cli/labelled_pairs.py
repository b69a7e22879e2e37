"""Commands that measure models on pairs of texts: evaluate pairs, evaluate crossencoder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from service.cli.options import JsonOption, SystemOption, with_settings
from service.cli.progress import progress
from service.settings import Settings, settings_about

_ENCODER = (*settings_about("models", "encoder"), "passage_tokens")
_RERANKER = settings_about("models", "reranker")

PairsOption = Annotated[
    Path,
    typer.Option("--pairs", help="JSON lines: pairs with sentence1, sentence2 and label 0 or 1."),
]
OutOption = Annotated[
    Path | None, typer.Option(help="Write JSON, Markdown and plots to this folder.")
]


def register(group: typer.Typer) -> None:
    group.command("pairs")(with_settings(*_ENCODER)(evaluate_pairs))
    group.command("crossencoder")(with_settings(*_RERANKER)(evaluate_crossencoder))


def evaluate_pairs(
    pairs: PairsOption,
    settings: Settings,
    learned_on: Annotated[
        Path | None, typer.Option(help="Other pairs, whose best thresholds are applied here.")
    ] = None,
    system: SystemOption = None,
    json_path: JsonOption = None,
    out: OutOption = None,
) -> None:
    """Measure how well a bi-encoder tells same from different: accuracy, F1, AP, thresholds."""
    from service.evaluation.pairs import evaluate_encoder, read_pairs
    from service.evaluation.tables import pair_table

    rows = read_pairs(pairs)
    others = read_pairs(learned_on) if learned_on else []

    def measure(one: Settings) -> tuple[dict[str, Any], Any]:
        with progress("encode", None) as advance:
            return evaluate_encoder(rows, one, others, advance)

    marks = ("cosine_accuracy_threshold", "cosine_f1_threshold")
    plot = _Plot("cosine", marks, [row.label for row in rows])
    found = _measure(settings, system, settings.encoder, measure, out)
    _report(found, [pairs, learned_on], pair_table, plot, json_path, out)


def evaluate_crossencoder(
    pairs: Annotated[
        Path,
        typer.Option(help="JSON lines: pairs (query, passage, label) or rows (query, pos, neg)."),
    ],
    settings: Settings,
    pos_weight: Annotated[
        float, typer.Option(min=0.0, help="How much a relevant pair counts in the loss.")
    ] = 1.0,
    system: SystemOption = None,
    json_path: JsonOption = None,
    out: OutOption = None,
) -> None:
    """Measure how well a cross-encoder tells relevant passages from others: loss, accuracy, F1.

    Logits are kept in the cache folder, so an interrupted command continues where it stopped.
    """
    from service.evaluation.pairs import evaluate_cross_encoder, read_pairs
    from service.evaluation.tables import classification_table

    rows = read_pairs(pairs)

    def measure(one: Settings) -> tuple[dict[str, Any], Any]:
        with progress(one.reranker, len(rows)) as advance:
            return evaluate_cross_encoder(rows, one, pos_weight, advance)

    plot = _Plot("logit", ("best_threshold",), [row.label for row in rows])
    found = _measure(settings, system, settings.reranker, measure, out)
    _report(found, [pairs], classification_table, plot, json_path, out)


class _Plot(NamedTuple):
    """The scores of pairs as a picture: the axis, the figures that are thresholds, the labels."""

    axis: str
    marks: Sequence[str]
    labels: Sequence[int]


def _measure(
    settings: Settings,
    system: list[str] | None,
    default: str,
    measure: Callable[[Settings], tuple[dict[str, Any], Any]],
    out: Path | None,
) -> tuple[dict[str, tuple[dict[str, Any], Any]], dict[str, str]]:
    """The figures and scores of each system, and why others could not be measured, by name."""
    from service.evaluation.partial_results import measure_each
    from service.evaluation.plots import check_plots
    from service.evaluation.systems import check_names, parse_system

    if out is not None:
        check_plots("out")
    systems = [parse_system(text, settings) for text in system or []]
    check_names([one.name for one in systems])
    return measure_each({s.name: s.settings for s in systems} or {default: settings}, measure)


def _report(
    measured: tuple[dict[str, tuple[dict[str, Any], Any]], dict[str, str]],
    files: Sequence[Path | None],
    table_of: Callable[[dict[str, Any]], str],
    plot: _Plot,
    json_path: Path | None,
    out: Path | None,
) -> None:
    from service.durable import write_json, write_text
    from service.evaluation.partial_results import require_all
    from service.evaluation.plots import plot_scores, save
    from service.evaluation.provenance import provenance
    from service.evaluation.tables import origin
    from service.models.folder import file_sha256

    found, failed = measured
    systems = {name: figures for name, (figures, _) in found.items()}
    data = [{"file": path.name, "sha256": file_sha256(path)} for path in files if path]
    report = {**provenance(0), "data": data, "systems": systems, "failed": failed}
    table = table_of(systems)
    typer.echo(table, nl=False)
    if json_path is not None:
        write_json(json_path, report)
    if out is not None:
        write_json(out / "report.json", report)
        write_text(out / "report.md", f"{origin(report)}\n{table}")
        for number, (name, (system, scores)) in enumerate(found.items(), 1):
            at = {mark: system["figures"][mark] for mark in plot.marks}
            picture = plot_scores(scores, plot.labels, at, f"{plot.axis}, {name}")
            save(picture, out / f"scores-{number}.png")
    require_all(failed, len(systems))
