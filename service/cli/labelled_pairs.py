"""Commands that measure models on pairs of texts: evaluate pairs, evaluate crossencoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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
    """Add this module's commands to `evaluate`."""
    group.command("pairs")(with_settings(*_ENCODER)(evaluate_pairs))
    group.command("crossencoder")(with_settings(*_RERANKER)(evaluate_crossencoder))


def evaluate_pairs(
    pairs: PairsOption,
    settings: Settings,
    learned_on: Annotated[
        Path | None,
        typer.Option(help="Other pairs, on which the thresholds are found that are applied here."),
    ] = None,
    system: SystemOption = None,
    json_path: JsonOption = None,
    out: OutOption = None,
) -> None:
    """How well a bi-encoder tells which texts mean the same: accuracy, F1, AP and thresholds."""
    from service.evaluation.pair_labels import evaluate_encoder, read_pairs
    from service.evaluation.pairs import SIMILARITIES
    from service.evaluation.tables import pair_table

    rows = read_pairs(pairs)
    others = read_pairs(learned_on) if learned_on else []

    def measure(one: Settings) -> tuple[dict[str, Any], Any]:
        with progress("encode", None) as advance:
            return evaluate_encoder(rows, one, others, advance)

    files = [path for path in (pairs, learned_on) if path]
    found = _measure_all(settings, system, settings.encoder, files, out, measure)
    labels = [row.label for row in rows]
    marks = ("cosine_accuracy_threshold", "cosine_f1_threshold")
    table = pair_table(found["systems"], SIMILARITIES)
    _report(found, table, labels, marks, "cosine", json_path, out)


def evaluate_crossencoder(
    pairs: Annotated[
        Path,
        typer.Option(
            "--pairs",
            help="JSON lines: pairs (query, passage, label) or rows (query, pos, neg).",
        ),
    ],
    settings: Settings,
    pos_weight: Annotated[
        float, typer.Option(min=0.0, help="How much a relevant pair counts in the loss.")
    ] = 1.0,
    system: SystemOption = None,
    json_path: JsonOption = None,
    out: OutOption = None,
) -> None:
    """How well a cross-encoder tells relevant passages from others: loss, accuracy and F1.

    Logits are kept in the cache folder, so that the command goes on where it was interrupted.
    """
    from service.evaluation.pair_labels import evaluate_cross_encoder, read_pairs
    from service.evaluation.tables import classification_table

    rows = read_pairs(pairs)

    def measure(one: Settings) -> tuple[dict[str, Any], Any]:
        with progress(one.reranker, len(rows)) as advance:
            return evaluate_cross_encoder(rows, one, pos_weight, advance)

    found = _measure_all(settings, system, settings.reranker, [pairs], out, measure)
    labels = [row.label for row in rows]
    table = classification_table(found["systems"])
    _report(found, table, labels, ("best_threshold",), "logit", json_path, out)


def _measure_all(
    settings: Settings,
    system: list[str] | None,
    default: str,
    files: list[Path],
    out: Path | None,
    measure: Callable[[Settings], tuple[dict[str, Any], Any]],
) -> dict[str, Any]:
    """The report, each system's scores in it under `scores`."""
    from service.evaluation.each import measure_each
    from service.evaluation.plots import check_plots
    from service.evaluation.provenance import provenance
    from service.evaluation.systems import check_names, parse_system
    from service.models.folder import file_sha256

    if out is not None:
        check_plots("out")
    systems = [parse_system(text, settings) for text in system or []]
    check_names([one.name for one in systems])
    wanted = {one.name: one.settings for one in systems} or {default: settings}
    measured, failed = measure_each(wanted, measure)
    found = {name: figures for name, (figures, _) in measured.items()}
    scores = {name: of for name, (_, of) in measured.items()}
    data = [{"file": path.name, "sha256": file_sha256(path)} for path in files]
    return {**provenance(0), "data": data, "systems": found, "failed": failed, "scores": scores}


def _report(
    found: dict[str, Any],
    table: str,
    labels: list[int],
    marks: tuple[str, ...],
    label: str,
    json_path: Path | None,
    out: Path | None,
) -> None:
    from service.durable import write_json, write_text
    from service.evaluation.each import require_all
    from service.evaluation.plots import plot_scores, save
    from service.evaluation.tables import origin

    typer.echo(table, nl=False)
    scores = found.pop("scores")
    if json_path is not None:
        write_json(json_path, found)
    if out is not None:
        write_json(out / "report.json", found)
        write_text(out / "report.md", f"{origin(found)}\n{table}")
        for number, (name, system) in enumerate(found["systems"].items(), 1):
            at = {mark: system["figures"][mark] for mark in marks}
            picture = plot_scores(scores[name], labels, at, f"{label}, {name}")
            save(picture, out / f"scores-{number}.png")
    require_all(found["failed"], len(found["systems"]))
