"""Commands that fit the second stage to labels: calibrate, tune-depth."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import options
from service.cli.progress import progress
from service.errors import InvalidInputError
from service.settings import DECIDING, NO_MODEL, Settings

if TYPE_CHECKING:
    from service.confidence.calibration import Calibration
    from service.evaluation.fitting import Fitting
    from service.evaluation.observations import Observations

TIMED_QUERIES = 5
"""Queries whose rerank is timed. Their logits are computed in this run."""

PictureOption = Annotated[
    bool,
    typer.Option("--picture/--no-picture", help="Draw a picture beside --out, ending in .png."),
]
RerankedOption = Annotated[
    int | None, typer.Option(min=1, help="How many of these are reranked, which is slow.")
]
CosineOnlyOption = Annotated[
    list[Path] | None,
    typer.Option(help="BEIR folder that counts for the cosine's curve only; it is not reranked."),
]
WeightsOnlyOption = Annotated[
    list[Path] | None,
    typer.Option(help="BEIR folder that counts for the reranker's shares only, not for curves."),
]
AcrossOption = Annotated[
    list[Path] | None,
    typer.Option(help="BEIR folder that counts for searches across languages only."),
]
HighOption = Annotated[float, typer.Option(min=0.01, max=1.0, help="Wanted precision of `high`.")]
MediumOption = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Wanted precision of `medium`.")
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="The reranker's share in every language, in place of the fitted ones; 1: only the "
        "reranker counts. Searches across languages keep a fitted share.",
    ),
]
EveryLanguageOption = Annotated[
    bool, typer.Option("--every-language", help="Fit one share for all languages together.")
]


def register(app: typer.Typer) -> None:
    for command in (calibrate, tune_depth):
        app.command()(options.with_settings(*options.SEARCH_SETTINGS)(command))


def calibrate(
    collection: options.CollectionOption,
    settings: Settings,
    out: Annotated[Path, typer.Option(help="Write the artifact to this file.")],
    name: Annotated[str, typer.Option(help="The artifact's name, shown in answers.")],
    queries: options.QueriesOption = None,
    reranked_queries: RerankedOption = None,
    seed: options.SeedOption = 0,
    cosine_only: CosineOnlyOption = None,
    weights_only: WeightsOnlyOption = None,
    across: AcrossOption = None,
    high: HighOption = 0.8,
    medium: MediumOption = 0.5,
    share: ShareOption = None,
    every_language: EveryLanguageOption = False,
    picture: PictureOption = True,
    json_path: options.JsonOption = None,
) -> None:
    """Fit the reranker's share and the meaning of scores and words on labelled data."""
    from service.durable import write_json, write_text
    from service.evaluation.calibration_report import calibration_report
    from service.evaluation.fitting import FitOptions, Labels, fit
    from service.evaluation.observations import Draw, observe_all
    from service.evaluation.plots import check_plots, plot_reliability, save
    from service.evaluation.reference import reference

    if medium > high:
        raise InvalidInputError("--medium must not be above --high", "medium")
    if picture:
        check_plots("picture", "; or leave it out with --no-picture")
    by_cosine, for_shares, other = (paths or [] for paths in (cosine_only, weights_only, across))
    groups = (collection, by_cosine, for_shares, other)
    paths, draw = [path for group in groups for path in group], Draw(queries, seed)
    seen = observe_all(
        settings, paths, draw, progress, _warn, reranked=reranked_queries, by_cosine=by_cosine
    )
    labels = Labels(*([seen.collections[path] for path in group] for group in groups))
    found = fit(labels, FitOptions(settings.rerank_depth, share, every_language, high, medium))
    artifact = _artifact(name, settings, seen, found)
    kept = reference(labels.reranked, artifact)
    artifact = artifact.model_copy(update={"reference": kept})
    write_text(out, artifact.model_dump_json(indent=2))
    if picture:
        at = {word: one.probability for word, one in found.words.items()}
        save(plot_reliability(found.figures["all"], at), out.with_suffix(".png"))
    if json_path is not None:
        write_json(json_path, {**_head(seed, settings), **calibration_report(artifact, found)})
    _show(out, artifact, found)


def _warn(warning: str) -> None:
    typer.echo(warning, err=True)


def _artifact(
    name: str, settings: Settings, seen: "Observations", found: "Fitting"
) -> "Calibration":
    from service.confidence.calibration import Calibration

    return Calibration(
        name=name,
        date=datetime.now(UTC).date().isoformat(),
        encoder_weights_sha256=seen.encoder.weights_sha256,
        query_prefix=seen.encoder.query_prefix,
        passage_prefix=seen.encoder.passage_prefix,
        normalizer_version=seen.encoder.normalizer_version,
        reranker_weights_sha256=seen.reranker_weights_sha256,
        reranker_variant=seen.reranker_variant,
        rerank_weights=found.shares,
        rerank_depth=settings.rerank_depth,
        thresholds=found.words,
        curves={ordering: one.fit.curve for ordering, one in found.curves.items()},
        mixed_curves={ordering: one.fit.curve for ordering, one in found.mixed.items()},
        data=seen.data,
    )


def _show(out: Path, artifact: "Calibration", found: "Fitting") -> None:
    from service.evaluation.calibration_report import calibration_lines, share_lines

    lines = [*share_lines(found.trials, found.choices), f"{out}:"]
    lines += [f"  {line}" for line in calibration_lines(artifact, found)]
    typer.echo("\n".join(lines))
    for sentence in found.warnings:
        typer.echo(f"too few labels: {sentence}", err=True)


def _head(seed: int, settings: Settings) -> dict[str, Any]:
    from service.evaluation.provenance import provenance

    return {**provenance(seed), "settings": settings.model_dump(mode="json", include=set(DECIDING))}


def tune_depth(
    collection: options.CollectionOption,
    settings: Settings,
    out: Annotated[
        Path | None, typer.Option(help="Write the figures to this JSON file, with a picture.")
    ] = None,
    loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Most nDCG@10 below the best depth.")
    ] = 0.005,
    queries: options.QueriesOption = None,
    seed: options.SeedOption = 0,
    picture: PictureOption = True,
) -> None:
    """Find the smallest number of candidates that is worth reranking, on labelled data."""
    from service.durable import write_json
    from service.evaluation import depth as tuning
    from service.evaluation.observations import Draw, observe_all
    from service.evaluation.plots import check_plots, plot_depths, save

    if settings.reranker == NO_MODEL:
        raise InvalidInputError("there is no reranker whose depth could be tuned", "reranker")
    if out is not None and picture:
        check_plots("picture", "; or leave it out with --no-picture")
    deepest = settings.model_copy(update={"rerank_depth": max(tuning.DEPTHS)})
    draw = Draw(queries, seed)
    seen = observe_all(deepest, collection, draw, progress, _warn, timed=TIMED_QUERIES)
    observed = list(seen.collections.values())
    rows = tuning.measure_depths(observed, seen.rerank_weight, milliseconds=seen.milliseconds)
    chosen = tuning.choose_depth(rows, loss)
    typer.echo(tuning.depth_markdown(rows, chosen), nl=False)
    typer.echo(
        f"rerank_depth {chosen.depth}: the smallest at most {loss:g} below the best. Set it with "
        f"--rerank-depth {chosen.depth} or SECONDPASS_RERANK_DEPTH={chosen.depth}"
    )
    if chosen.high > loss:
        typer.echo(
            f"too few labels: the loss may be up to {chosen.high:.4f} (95 % interval)", err=True
        )
    if out is not None:
        found = tuning.depth_report(rows, chosen, loss)
        write_json(out, {**_head(seed, settings), "data": seen.data, **found})
        if picture:
            save(plot_depths(rows, chosen), out.with_suffix(".png"))
