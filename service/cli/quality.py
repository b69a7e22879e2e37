"""Commands that measure and calibrate: evaluate, calibrate."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from service import __version__
from service.cli.options import MODEL_SETTINGS, with_settings
from service.cli.progress import progress
from service.confidence.calibration import Calibration, Curve, Ordering
from service.errors import InvalidInputError
from service.settings import Settings

_SETTINGS = tuple(name for name in MODEL_SETTINGS if name != "data_dir")

CollectionOption = Annotated[
    list[Path], typer.Option("--collection", help="BEIR folder; give the option again for more.")
]
QueriesOption = Annotated[
    int | None, typer.Option("--queries", min=1, help="Queries a collection, drawn at random.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the draw.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="Measure how good search is on labelled data.", no_args_is_help=True)
    group.command("retrieval")(with_settings(*_SETTINGS)(evaluate_retrieval))
    app.add_typer(group, name="evaluate")
    app.command()(with_settings(*_SETTINGS)(calibrate))


def evaluate_retrieval(
    collection: CollectionOption,
    settings: Settings,
    queries: QueriesOption = None,
    seed: SeedOption = 0,
    chunk: Annotated[
        bool,
        typer.Option(
            help="Cut long documents into passages, as the service does. Without, a document is "
            "one passage that ends with the encoder's window, as in published figures."
        ),
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
) -> None:
    """Stage one beside the reranked order, over the collection's own documents and queries."""
    from service.collection import read_beir  # noqa: PLC0415
    from service.confidence.words import Thresholds  # noqa: PLC0415
    from service.evaluation.report import collection_report, markdown  # noqa: PLC0415
    from service.evaluation.run import ask_all, sample  # noqa: PLC0415

    thresholds = Thresholds(settings.confidence_high, settings.confidence_medium)
    reports: dict[str, Any] = {}
    for path in collection:
        labelled = read_beir(path)
        chosen = sample(labelled.qrels, queries, seed)
        with (
            _searching(settings, path, chunk) as ask,
            progress(labelled.name, len(chosen)) as advance,
        ):
            runs = ask_all({q: labelled.queries[q] for q in chosen}, ask, advance)
        reports[labelled.name] = collection_report(runs, labelled.qrels, thresholds)
    typer.echo(markdown(reports), nl=False)
    if json_path is not None:
        written = {
            "version": __version__,
            "settings": {**_shown(settings), "chunk": chunk},
            "collections": reports,
        }
        json_path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


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
) -> None:
    """Fit, on labelled data, how much the reranker counts per language and what scores mean."""
    from service.collection import read_beir  # noqa: PLC0415
    from service.evaluation.calibration import (  # noqa: PLC0415
        Labelled,
        choose_weights,
        fit_curves,
        try_weights,
    )
    from service.evaluation.run import sample  # noqa: PLC0415

    def observe(path: Path, rerank: bool = True) -> Labelled:
        # Any share makes the reranker score every language; the shares are fitted afterwards.
        forced = settings.model_copy(update={"rerank_weight": 0.5})
        labelled = read_beir(path)
        chosen = sample(labelled.qrels, queries, seed)
        to_rerank = set(sample(chosen, reranked_queries, seed)) if rerank else set()
        retrieval, both = {}, {}
        with _searching(forced, path, True) as ask, progress(labelled.name, len(chosen)) as advance:
            for number, query in enumerate(chosen, start=1):
                retrieval[query] = ask(labelled.queries[query], False)
                if query in to_rerank:
                    both[query] = ask(labelled.queries[query], True)
                advance(number)
        return Labelled(labelled.name, labelled.qrels, retrieval, both)

    reranked = [observe(path) for path in collection]
    by_cosine = [observe(path, rerank=False) for path in cosine_only or []]
    trials = try_weights([*reranked, *(observe(path) for path in weights_only or [])])
    for trial in trials:
        shown = ", ".join(f"{weight:g}: {ndcg:.4f}" for weight, ndcg in trial.ndcg.items())
        typer.echo(f"{trial.collection} {trial.language} ({trial.queries} queries) {shown}")
    weights = choose_weights(trials)
    curves = fit_curves([*reranked, *by_cosine], weights)
    data = [*collection, *(cosine_only or []), *(weights_only or [])]
    _write_artifact(settings, data, out, name, weights, curves)


def _write_artifact(
    settings: Settings,
    collections: list[Path],
    out: Path,
    name: str,
    weights: dict[str, float],
    curves: dict[Ordering, Curve],
) -> None:
    from service.collection import data_sha256  # noqa: PLC0415
    from service.pipeline.build import build_encoder, build_reranker  # noqa: PLC0415

    encoder, reranker = build_encoder(settings).identity, build_reranker(settings)
    artifact = Calibration(
        name=name,
        date=datetime.now(UTC).date().isoformat(),
        encoder_weights_sha256=encoder.weights_sha256,
        query_prefix=encoder.query_prefix,
        passage_prefix=encoder.passage_prefix,
        normalizer_version=encoder.normalizer_version,
        reranker_weights_sha256=reranker.weights_sha256 if reranker else None,
        rerank_weights=weights,
        curves=curves,
        data={path.name: data_sha256(path) for path in collections},
    )
    out.write_text(artifact.model_dump_json(indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{out}: rerank weights {weights or 'none'}")
    for ordering, curve in curves.items():
        typer.echo(
            f"  {ordering}: {curve.n} hits, {curve.positive} relevant, "
            f"ECE {curve.ece:.4f}, Brier {curve.brier:.4f} (cross-validated)"
        )


@contextmanager
def _searching(settings: Settings, collection: Path, chunked: bool) -> Iterator[Any]:
    """Ingest a collection into a folder of its own and yield a way to ask it.

    The folder's name holds the data's hash and the encoder's, under the cache folder, so that the
    next evaluation of the same data with the same encoder starts at once.
    """
    from service.collection import data_sha256, read_documents  # noqa: PLC0415
    from service.evaluation.run import Answer, ScoredHit  # noqa: PLC0415
    from service.pipeline.build import encoder_digest, open_engine, open_ingestion  # noqa: PLC0415
    from service.pipeline.query import Query  # noqa: PLC0415

    digest = data_sha256(collection)[:12] + "-" + encoder_digest(settings)[:12]
    cut = f"passages{settings.passage_overlap}" if chunked else "whole"
    name = f"{collection.resolve().name}-{cut}-{digest}"
    folder = settings.cache_dir / "evaluation" / name
    here = settings.model_copy(update={"data_dir": folder, "max_query_chars": 100_000})
    with open_ingestion(here, chunked=chunked) as ingestion, progress("ingest", None) as advance:
        rows = read_documents(collection, max_chars=settings.max_document_chars)
        report = ingestion.ingestor.ingest(rows, lambda report: advance(report.rows))
        if report.refused:
            first = report.refused[0]
            raise InvalidInputError(f"{first.source}, line {first.line}: {first.reason}")
    with open_engine(here) as engine, asyncio.Runner() as runner:

        def ask(text: str, rerank: bool) -> Answer:
            query = Query(query=text, top_k=100, rerank=rerank, timeout_ms=600_000)
            result = runner.run(engine.searcher.search(query))
            hits = [
                ScoredHit(h.id, h.retrieval_score, h.rerank_score, h.probability)
                for h in result.hits
            ]
            total = result.timings_ms["total"]
            return Answer(hits, result.rerank.status, result.language, total)

        yield ask


def _shown(settings: Settings) -> dict[str, Any]:
    """The settings that decide the figures."""
    names = ("encoder", "reranker", "passage_tokens", "rerank_max_length", "rerank_weight")
    return {name: getattr(settings, name) for name in names}
