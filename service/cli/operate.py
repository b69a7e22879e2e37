"""Commands that run and inspect a service: serve, models, keys."""

import secrets
import threading
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from service.cli.options import console, with_settings
from service.extras import install_command
from service.models.model_kinds import KINDS
from service.models.registry import REGISTRY
from service.settings import NO_MODEL, Settings, settings_about

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.sources import PreparedModel

_SOURCE = (*settings_about("encoder"), "reranker", "pair_model", "cache_dir", "hub_offline")


def _known_kind(value: str) -> str:
    if value not in KINDS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(KINDS)}")
    return value


KindOption = Annotated[
    str,
    typer.Option(
        help="Kind of a model that is not in the registry.",
        parser=_known_kind,
        metavar=f"[{'|'.join(KINDS)}]",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(with_settings(*Settings.model_fields)(serve))
    app.command()(key)
    models = typer.Typer(help="List, prepare and show models.", no_args_is_help=True)
    models.command("list")(with_settings("cache_dir")(list_models))
    models.command("prepare")(with_settings(*_SOURCE, "threads")(prepare_models))
    models.command("show")(with_settings(*_SOURCE)(show_model))
    app.add_typer(models, name="models")


def serve(
    settings: Settings,
    with_demo: Annotated[
        bool,
        typer.Option(
            "--demo", help="Encode the demo corpus in the background if there are no documents."
        ),
    ] = False,
) -> None:
    """Run the search service until it is interrupted."""
    from service.api.logs import configure_logging
    from service.api.server import serve as run

    configure_logging(settings)

    def load() -> "Engine":
        from service.engine.engine import open_engine
        from service.evaluation.label_works import label_works

        engine = open_engine(settings, works=label_works)
        if with_demo:
            from service.demo import add_demo

            # To read the corpus takes seconds, which the first search must not wait for.
            threading.Thread(target=add_demo, args=[engine], name="demo", daemon=True).start()
        return engine

    if not run(settings, load):
        raise typer.Exit(1)


def key() -> None:
    """Make an API key that may do everything, and its hash, which `api_key_hashes` takes."""
    from service.store.key_file import PREFIX, hash_key

    secret = PREFIX + secrets.token_urlsafe(32)
    typer.echo(f"key   {secret}")
    typer.echo(f"hash  {hash_key(secret)}")
    where = "the server takes the hash (SECONDPASS_API_KEY_HASHES), callers send the key:"
    typer.echo(f"{where}\nAuthorization: Bearer <key>", err=True)


def list_models(settings: Settings) -> None:
    """Show the models of the registry."""
    table = Table(Column("name", overflow="fold"), "kind", "dimension", "max length", "licence")
    for name, spec in REGISTRY.items():
        dimension = "" if spec.dimension is None else str(spec.dimension)
        table.add_row(name, spec.kind, dimension, str(spec.max_length), spec.licence or "")
    console().print(table)
    typer.echo(f"prepared models are kept in {settings.cache_dir}")


def prepare_models(
    settings: Settings,
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; without any, those of the settings.")
    ] = None,
    kind: KindOption = "bi-encoder",
) -> None:
    """Download and convert models, so that a start needs no network."""
    from service.models.sources import kind_named

    wanted: list[tuple[str, str]] = [(name, _kind(name, kind)) for name in names or []]
    if not wanted:
        stages = (settings.encoder, "encoder"), (settings.reranker, "reranker")
        used = (*stages, (settings.pair_model, "encoder"))
        wanted = [(name, kind_named(name, stage)) for name, stage in used if name != NO_MODEL]
    for name, its_kind in wanted:
        if name.startswith(KINDS[its_kind].schemes):
            continue
        typer.echo(f"{name}: {_prepare(settings, name, its_kind).folder}")
        if KINDS[its_kind].measured:
            _measure(settings, name)
        elif KINDS[its_kind].stage == "encoder":
            _measure_encoder(settings, name)


def _measure(settings: Settings, name: str) -> None:
    """Measure which backend runs a cross-encoder best on this CPU."""
    from service.engine.build import measure_backends

    record = measure_backends(settings, name)
    typer.echo(
        f"{record.pairs} pairs on {record.cpu}, {record.threads} threads; close enough: "
        f"tau at least {record.least_tau}, difference at most {record.most_difference:.0%} of the "
        "range of the scores"
    )
    for backend, row in record.measured.items():
        verdict = "" if row.close else "  not close enough"
        typer.echo(
            f"  {backend:<11}{row.milliseconds:8.1f} ms a pair  tau {row.kendall_tau:.3f}  "
            f"difference {row.max_difference:.2%}{verdict}"
        )
    typer.echo(f"  rerank_backend auto: {record.chosen}")
    if not any(backend.startswith("onnx") for backend in record.measured):
        typer.echo(f"  two more backends: {install_command('onnx')}")


def _measure_encoder(settings: Settings, name: str) -> None:
    """Measure which backends run an encoder best on this CPU."""
    from service.engine.build import measure_encoder_backends

    record = measure_encoder_backends(settings, name)
    if record is None:
        return
    typer.echo(f"built-in texts on {record.cpu}, {record.threads} threads; processor time")
    for backend, row in record.measured.items():
        verdict = "" if row.close else "  not close enough"
        typer.echo(
            f"  {backend:<11}{row.query_ms:8.1f} ms a query, {row.busy_query_ms:.1f} of many  "
            f"{row.passages_per_second:8.1f} passages a second  "
            f"cosine with float32 at least {row.least_cosine:.5f}{verdict}"
        )
    typer.echo(f"  encoder_query_backend auto: {record.chosen.queries}")
    typer.echo(f"  encoder_passage_backend auto: {record.chosen.passages}")


def show_model(name: str, settings: Settings, kind: KindOption = "bi-encoder") -> None:
    """Prepare a model and show its properties."""
    from service.models.sources import check_dimensions

    model = _prepare(settings, name, _kind(name, kind))
    dimensions = settings.embedding_dimensions if KINDS[model.kind].stage == "encoder" else None
    check_dimensions(model, dimensions)
    for label, value in (
        ("name", model.name),
        ("kind", model.kind),
        ("folder", model.folder),
        ("weights sha256", model.weights_sha256),
        ("query prefix", repr(model.query_prefix)),
        ("passage prefix", repr(model.passage_prefix)),
        ("prefixes from", model.prefixes_from),
        ("dimension", dimensions or model.dimension),
        ("may be cut to", ", ".join(map(str, model.matryoshka)) or "unknown"),
        ("max length", model.max_length),
        ("licence", model.licence or "unknown"),
    ):
        typer.echo(f"{label:<16}{value}")


def _kind(name: str, otherwise: str) -> str:
    return REGISTRY[name].kind if name in REGISTRY else otherwise


def _prepare(settings: Settings, name: str, kind: str) -> "PreparedModel":
    from service.models.sources import prepare

    is_encoder = KINDS[kind].stage == "encoder"
    return prepare(
        name,
        kind,
        cache_dir=settings.cache_dir,
        offline=settings.hub_offline,
        query_prefix=settings.query_prefix if is_encoder else None,
        passage_prefix=settings.passage_prefix if is_encoder else None,
    )
