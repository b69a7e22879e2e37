"""Commands that fit the second stage to labels: calibrate, tune-depth."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.evaluation import CollectionOption, QueriesOption, SeedOption
from service.cli.options import MODEL_SETTINGS, with_settings
from service.cli.progress import progress
from service.errors import InvalidInputError
from service.settings import Settings

if TYPE_CHECKING:
    from service.evaluation.candidates import Observed
    from service.evaluation.shares import Choice, Trial
    from service.types import EncoderIdentity

_SETTINGS = tuple(name for name in MODEL_SETTINGS if name != "data_dir")

TIMED_QUERIES = 5
"""Queries whose rerank is timed; their logits are computed anew."""

PictureOption = Annotated[
    bool, typer.Option("--picture/--no-picture", help="A picture beside --out, ending in .png.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(with_settings(*_SETTINGS)(calibrate))
    app.command()(with_settings(*_SETTINGS)(tune_depth))


def calibrate(
    collection: CollectionOption,
    settings: Settings,
    out: Annotated[Path, typer.Option(help="Write the artifact to this file.")],
    name: Annotated[str, typer.Option(help="The artifact's name, shown in answers.")],
    queries: QueriesOption = None,
    reranked_queries: Annotated[
        int | None, typer.Option(min=1, help="Of these, so many are reranked (it is slow).")
    ] = None,
    seed: SeedOption = 0,
    cosine_only: Annotated[
        list[Path] | None,
        typer.Option(help="BEIR folder that is not reranked: a say in the cosine's curve only."),
    ] = None,
    weights_only: Annotated[
        list[Path] | None,
        typer.Option(help="BEIR folder with a say in the reranker's shares only, in no curve."),
    ] = None,
    high: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Precision that `high` is to have.")
    ] = 0.8,
    medium: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Precision that `medium` is to have.")
    ] = 0.5,
    share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="The reranker's share in every language, instead of a fitted one; 1: it alone.",
        ),
    ] = None,
    every_language: Annotated[
        bool,
        typer.Option("--every-language", help="Fit one share for all languages, not one for each."),
    ] = False,
    picture: PictureOption = True,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file.")
    ] = None,
) -> None:
    """Fit, on labelled data, how much the reranker counts and what scores and words mean."""
    from service.confidence.calibration import Calibration, thresholds  # noqa: PLC0415
    from service.evaluation import calibration as fitting  # noqa: PLC0415
    from service.evaluation import calibration_report as telling  # noqa: PLC0415
    from service.evaluation.confidence_plots import check_plots, plot_reliability  # noqa: PLC0415
    from service.evaluation.outputs import write_json, write_text  # noqa: PLC0415
    from service.evaluation.plots import save  # noqa: PLC0415
    from service.evaluation.provenance import provenance  # noqa: PLC0415

    if medium > high:
        raise InvalidInputError("--medium must not be above --high", "medium")
    if picture:
        check_plots()
    paths = [*collection, *(cosine_only or []), *(weights_only or [])]
    look = _Look(settings, paths, queries, reranked_queries, seed)
    reranked = [look(path) for path in collection]
    by_cosine = [look(path, rerank=False) for path in cosine_only or []]
    for_shares = [*reranked, *(look(path) for path in weights_only or [])]
    shares, trials, choices = _shares(for_shares, settings.rerank_depth, share, every_language)
    for line in telling.share_lines(trials, choices):
        typer.echo(line)
    rows = fitting.collect_rows([*reranked, *by_cosine], shares, settings.rerank_depth)
    fitted = fitting.fit_curves(rows)
    held = fitting.held_out(fitted)
    words = fitting.fit_thresholds(held, high, medium)
    artifact = Calibration(
        name=name,
        date=datetime.now(UTC).date().isoformat(),
        encoder_weights_sha256=look.encoder.weights_sha256,
        query_prefix=look.encoder.query_prefix,
        passage_prefix=look.encoder.passage_prefix,
        normalizer_version=look.encoder.normalizer_version,
        reranker_weights_sha256=look.reranker_weights_sha256,
        rerank_weights=shares,
        rerank_depth=settings.rerank_depth,
        thresholds=words,
        curves={ordering: one.fit.curve for ordering, one in fitted.items()},
        data=look.data,
    )
    figures = fitting.by_part(held, thresholds(artifact))
    write_text(out, artifact.model_dump_json(indent=2))
    if picture:
        at = {word: fit.probability for word, fit in words.items()}
        save(plot_reliability(figures["all"], at), out.with_suffix(".png"))
    if json_path is not None:
        head = {**provenance(seed), "settings": _shown(settings)}
        report = telling.calibration_report(artifact, fitted, figures, trials, choices)
        write_json(json_path, {**head, **report})
    typer.echo(f"{out}:")
    for line in telling.calibration_lines(artifact, fitted, figures):
        typer.echo(f"  {line}")
    for sentence in fitting.shortages(fitted, words, figures["all"]["queries"]):
        typer.echo(f"too few labels: {sentence}", err=True)


def tune_depth(
    collection: CollectionOption,
    settings: Settings,
    out: Annotated[
        Path | None, typer.Option(help="Write the figures to this JSON file, a picture beside it.")
    ] = None,
    loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="nDCG@10 below the best depth, at most.")
    ] = 0.005,
    queries: QueriesOption = None,
    seed: SeedOption = 0,
    picture: PictureOption = True,
) -> None:
    """Find, on labelled data, the smallest number of candidates that is worth reranking."""
    from service.evaluation import depth as tuning  # noqa: PLC0415
    from service.evaluation.confidence_plots import check_plots, plot_depths  # noqa: PLC0415
    from service.evaluation.outputs import write_json  # noqa: PLC0415
    from service.evaluation.plots import save  # noqa: PLC0415
    from service.evaluation.provenance import provenance  # noqa: PLC0415

    if settings.reranker == "none":
        raise InvalidInputError("there is no reranker whose depth could be tuned", "reranker")
    if out is not None and picture:
        check_plots()
    deepest = settings.model_copy(update={"rerank_depth": max(tuning.DEPTHS)})
    look = _Look(deepest, collection, queries, None, seed, timed=TIMED_QUERIES)
    observed = [look(path) for path in collection]
    rows = tuning.measure_depths(
        observed, look.rerank_weight, tuning.DEPTHS, look.milliseconds or None
    )
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
        head = {**provenance(seed), "settings": _shown(settings), "data": look.data}
        write_json(out, {**head, **tuning.depth_report(rows, chosen, loss)})
        if picture:
            save(plot_depths(rows, chosen), out.with_suffix(".png"))


class _Look:
    """Opens each collection, looks at its candidates, and remembers with which models."""

    encoder: "EncoderIdentity"
    reranker_weights_sha256: str | None = None

    def __init__(
        self,
        settings: Settings,
        paths: Sequence[Path],
        queries: int | None,
        reranked: int | None,
        seed: int,
        timed: int = 0,
    ) -> None:
        from service.evaluation.systems import collection_names  # noqa: PLC0415

        self._names = dict(zip(paths, collection_names(paths), strict=True))
        self._settings, self._queries, self._reranked = settings, queries, reranked
        self._seed, self._timed = seed, timed
        self.data: dict[str, str] = {}
        self.milliseconds: dict[int, float] = {}

    def __call__(self, path: Path, *, rerank: bool = True) -> "Observed":
        from service.collection import data_sha256, open_collection  # noqa: PLC0415
        from service.evaluation.candidates import CANDIDATES, Observer, observe  # noqa: PLC0415
        from service.evaluation.depth import time_depths  # noqa: PLC0415
        from service.evaluation.run import sample  # noqa: PLC0415
        from service.evaluation.searching import opened  # noqa: PLC0415

        labelled = replace(open_collection(path), name=self._names[path])
        self.data[labelled.name] = data_sha256(path)
        chosen = sample(labelled.qrels, self._queries, self._seed)
        to_rerank = set(sample(chosen, self._reranked, self._seed)) if rerank else set()
        with (
            progress("ingest", None) as read,
            opened(self._settings, path, chunked=True, on_progress=read) as (engine, logits),
            progress(labelled.name, len(chosen)) as advance,
        ):
            self.encoder = engine.searcher.encoder.identity
            self.rerank_weight = engine.searcher.second_stage.judge.rerank_weight
            if logits is not None:
                self.reranker_weights_sha256 = logits.weights_sha256
            observer = Observer(engine, self._settings.rerank_depth)
            # Before all else, as a reranker may remember the passages that it has seen.
            if self._timed and logits is not None and not self.milliseconds:
                found = (observer.finder(labelled.queries[q]) for q in chosen[: self._timed])
                searches = [(text, find(CANDIDATES)) for text, find in found]
                self.milliseconds = time_depths(logits.reranker, searches)
            return observe(observer, labelled, chosen, to_rerank, advance)


def _shares(
    collections: "Sequence[Observed]", depth: int, fixed: float | None, every_language: bool
) -> "tuple[dict[str, float], list[Trial], list[Choice]]":
    """The artifact's shares with what they were chosen by."""
    from service.evaluation.shares import (  # noqa: PLC0415
        choose_shares,
        fixed_shares,
        shares_of,
        try_shares,
    )

    trials = try_shares(collections, depth)
    if fixed is not None:
        return fixed_shares(fixed, trials), trials, []
    choices = choose_shares(trials, every_language=every_language)
    return shares_of(choices, trials), trials, choices


def _shown(settings: Settings) -> dict[str, Any]:
    """The settings that decide the figures."""
    names = (
        "encoder",
        "reranker",
        "passage_tokens",
        "passage_overlap",
        "passages_per_document",
        "rerank_max_length",
        "rerank_weight",
        "rerank_depth",
    )
    return {name: getattr(settings, name) for name in names}
