"""Commands on a collection's own labels: labels show, export, delete, evaluate, calibrate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.connect import KeyOption, UrlOption, connected
from service.cli.options import FOLDER_SETTINGS, JsonOption, with_settings
from service.cli.progress import progress
from service.errors import SecondpassError
from service.settings import Settings
from service.store.label_store import LabelKind

if TYPE_CHECKING:
    from service.store.job_store import JobKind

CollectionOption = Annotated[str, typer.Option(help="A collection or an alias.")]
SetOption = Annotated[
    LabelKind, typer.Option("--set", help="`labels`, or the `feedback` of users.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Count, export and delete labels; evaluate and calibrate with them.",
        no_args_is_help=True,
    )
    for name, command in (
        ("show", show),
        ("export", export),
        ("delete", delete),
        ("evaluate", evaluate),
        ("calibrate", calibrate),
        ("restore", restore),
    ):
        group.command(name)(with_settings(*FOLDER_SETTINGS)(command))
    app.add_typer(group, name="labels")


def show(
    settings: Settings,
    collection: CollectionOption = "default",
    of: SetOption = "labels",
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Count the labels."""
    counts: Any
    if url is not None:
        with connected(url, api_key, collection=collection) as client:
            counts = client.label_counts(of)
    else:
        from service.store.data_folder import DataFolder

        with DataFolder.open(settings.data_dir) as folder:
            found = folder.collection(folder.catalog.resolve(collection))
            counts = found.labels.counts(of)
    typer.echo(
        f"{counts.queries} queries, {counts.judged} judged hits: {counts.relevant} relevant, "
        f"{counts.not_relevant} not"
    )


def export(
    out: Annotated[Path, typer.Argument(help="New BEIR folder.")],
    settings: Settings,
    collection: CollectionOption = "default",
    of: SetOption = "labels",
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Write labels and all documents as a BEIR folder, which evaluate and calibrate read."""
    from service.durable import new_folder, write_lines

    with new_folder(out) as unfinished:
        if url is not None:
            _download(unfinished, url, api_key, collection, of)
        else:
            from service.engine.label_export import beir_files
            from service.store.data_folder import DataFolder

            with DataFolder.open(settings.data_dir) as folder:
                found = folder.collection(folder.catalog.resolve(collection))
                for name, lines in beir_files(found, of):
                    write_lines(unfinished / name, lines)
    typer.echo(f"{out}: {of} of {collection}")


def delete(
    settings: Settings,
    collection: CollectionOption = "default",
    of: SetOption = "labels",
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Delete all labels of a collection."""
    if url is not None:
        with connected(url, api_key, collection=collection) as client:
            gone = client.delete_labels(of)
    else:
        from service.store.data_folder import DataFolder

        with DataFolder.open(settings.data_dir) as folder:
            found = folder.collection(folder.catalog.resolve(collection))
            gone = found.labels.delete(of)
    typer.echo(f"deleted {gone} judged hits")


def evaluate(
    settings: Settings,
    collection: CollectionOption = "default",
    of: SetOption = "labels",
    json_path: JsonOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Measure a collection's search by its labels."""
    found = _report("evaluation", settings, collection, url, api_key, of)
    _write(found, json_path)
    _show_coverage(found["coverage"])
    for stage, measures in found["measures"].items():
        if measures:
            shown = ", ".join(f"{name} {of['value']:.4f}" for name, of in measures.items())
            typer.echo(f"{stage}: {shown}")
    if sure := found["confidence"]:
        typer.echo(f"confidence: ECE {sure['ece']:.4f}, Brier {sure['brier']:.4f}")
    typer.echo(f"{len(found['lost'])} relevant documents are lost")


def calibrate(
    settings: Settings,
    collection: CollectionOption = "default",
    of: SetOption = "labels",
    json_path: JsonOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Fit a collection's confidence to its labels; its next search uses it."""
    found = _report("calibration", settings, collection, url, api_key, of)
    _write(found, json_path)
    _show_coverage(found["coverage"])
    typer.echo(f"{collection} uses {found['name']}")
    for move in found["moves"]:
        typer.echo(
            f"  a probability of {move['before']:.2f} is now {move['after']:.2f} "
            f"({move['low']:.2f} to {move['high']:.2f})"
        )
    for when, words in found["words"].items():
        typer.echo(f"  {when}: " + ", ".join(f"{n} {word}" for word, n in words.items() if n))
    for said in found["warnings"]:
        typer.echo(f"too few labels: {said}", err=True)


def restore(
    settings: Settings,
    collection: CollectionOption = "default",
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Go back to the calibration before; a second call undoes this."""
    if url is not None:
        with connected(url, api_key, collection=collection) as client:
            name = client.restore_calibration().name
    else:
        from service.engine.engine import open_engine

        with open_engine(settings, pairs=False, jobs=False) as engine:
            live = engine.collection(collection)
            live.use_calibration(None)
            name = live.calibrations.judge().name
    typer.echo(f"{collection} uses {name or 'no calibration'}")


def _report(
    kind: "JobKind",
    settings: Settings,
    collection: str,
    url: str | None,
    api_key: str | None,
    of: LabelKind,
) -> Mapping[str, Any]:
    """What comes of a job: of a server's, or of the same work in the data folder."""
    options = {"labels": of}
    if url is not None:
        return _ask(kind, collection, url, api_key, of)
    from service.engine.engine import open_engine
    from service.evaluation.label_works import label_works

    with (
        open_engine(settings, pairs=False, jobs=False) as engine,
        progress(kind, None) as advance,
    ):
        return label_works(engine)[kind](collection, options, lambda done, _: advance(done))


def _ask(
    kind: "JobKind", collection: str, url: str, api_key: str | None, of: LabelKind
) -> Mapping[str, Any]:
    with (
        connected(url, api_key, collection=collection) as client,
        progress(kind, None) as advance,
    ):
        start = client.evaluate if kind == "evaluation" else client.calibrate
        job = client.wait(start(of), lambda job: advance(job.done))
    if job.result is None:
        raise SecondpassError(f"the {kind} is {job.state}: {job.reason}")
    return job.result


def _download(folder: Path, url: str, api_key: str | None, collection: str, of: LabelKind) -> None:
    import zipfile

    archive = folder / "labels.zip"
    with connected(url, api_key, collection=collection) as client:
        client.export_labels(archive, of)
    with zipfile.ZipFile(archive) as found:
        for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
            found.extract(name, folder)
    archive.unlink()


def _write(found: Mapping[str, Any], json_path: Path | None) -> None:
    if json_path is not None:
        from service.durable import write_json

        write_json(json_path, found)


def _show_coverage(coverage: Mapping[str, Any]) -> None:
    typer.echo(
        f"{coverage['judged']} judged hits of {coverage['queries']} queries; "
        f"{coverage['shown_judged']} of {coverage['shown']} first hits are judged"
    )
    if coverage["missing"]:
        typer.echo(f"to calibrate, label {' and '.join(coverage['missing'])}", err=True)
