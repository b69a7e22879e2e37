"""Commands on the collections of a data folder or a server: collections, snapshot."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from service.cli.connect import KeyOption, UrlOption, connected
from service.cli.options import FOLDER_SETTINGS, console, named_value, with_settings
from service.errors import InvalidInputError, SecondpassError
from service.settings import Settings, settings_about

if TYPE_CHECKING:
    from secondpass_client import SearchClient
    from service.cli.folder_collections import FolderCollections

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE: a setting other than the server's, such as encoder."),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="List, make, switch and remove the collections of a server or data folder.",
        no_args_is_help=True,
    )
    for name, command in (
        ("list", list_collections),
        ("create", create),
        ("delete", delete),
        ("alias", alias),
    ):
        group.command(name)(with_settings(*FOLDER_SETTINGS)(command))
    app.add_typer(group, name="collections")
    snapshots = typer.Typer(help="Archives of a collection.", no_args_is_help=True)
    snapshots.command("create")(with_settings(*FOLDER_SETTINGS)(create_snapshot))
    snapshots.command("restore")(with_settings(*FOLDER_SETTINGS)(restore_snapshot))
    limits = with_settings(*settings_about("limits"))
    snapshots.command("check")(limits(check_snapshot))
    app.add_typer(snapshots, name="snapshot")


def list_collections(settings: Settings, url: UrlOption = None, api_key: KeyOption = None) -> None:
    """Show the collections and their aliases."""
    table = Table("name", "aliases", "documents", "passages", "staged", "settings")
    with _target(settings, url, api_key) as target:
        for row in target.collections():
            figures = (row.documents, row.passages, row.staged)
            shown = ["-" if figure is None else str(figure) for figure in figures]
            own = json.dumps(dict(row.settings)) if row.settings else ""
            table.add_row(row.name, ", ".join(row.aliases), *shown, own)
    console().print(table)


def create(
    name: Annotated[str, typer.Argument(help="1 to 64 of a-z, 0-9, _ and -.")],
    settings: Settings,
    own: SetOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Make an empty collection."""
    wanted = _own_settings(own or [])
    with _target(settings, url, api_key) as target:
        target.create_collection(name, wanted)
    typer.echo(f"{name} is there")


def delete(name: str, settings: Settings, url: UrlOption = None, api_key: KeyOption = None) -> None:
    """Remove a collection and all its documents, for good."""
    with _target(settings, url, api_key) as target:
        target.delete_collection(name)
    typer.echo(f"{name} is gone")


def alias(
    name: Annotated[str, typer.Argument(help="The alias, such as default.")],
    settings: Settings,
    collection: Annotated[
        str | None, typer.Argument(help="The collection that it points to from now on.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Point an alias to a collection, or remove it with --remove."""
    if remove == (collection is not None):
        raise InvalidInputError("give a collection, or else --remove", "collection")
    with _target(settings, url, api_key) as target:
        if collection is None:
            target.delete_alias(name)
            typer.echo(f"{name} is gone")
        else:
            target.set_alias(name, collection)
            typer.echo(f"{name} leads to {collection}")


def create_snapshot(
    out: Annotated[Path, typer.Argument(help="Archive (.tar) to write or replace.")],
    settings: Settings,
    collection: Annotated[str, typer.Option(help="A collection or an alias.")] = "default",
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Write an archive of a collection: documents, passages, vectors, checksums."""
    with _target(settings, url, api_key) as target:
        target.snapshot(out, collection)
    typer.echo(f"{out}: {out.stat().st_size} bytes")


def restore_snapshot(
    path: Annotated[Path, typer.Argument(help="Archive that `snapshot create` wrote.")],
    name: Annotated[str, typer.Argument(help="Name of the new collection.")],
    settings: Settings,
    re_embed: Annotated[
        bool,
        typer.Option("--re-embed", help="Encode all documents again, with the server's models."),
    ] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Make a collection from an archive, once all of it is verified."""
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}")
    with _target(settings, url, api_key) as target:
        target.restore(path, name, re_embed=re_embed)
    typer.echo(f"{name} is there")
    if re_embed:
        typer.echo("its documents are encoded by the server that has it open")


def check_snapshot(
    path: Annotated[Path, typer.Argument(help="Archive to verify.")], settings: Settings
) -> None:
    """Verify every size, count and hash of an archive, and show its contents."""
    from service.store.snapshot_reader import Snapshot

    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}")
    with path.open("rb") as file:
        found = Snapshot.verified(file)
        for _ in found.rows(settings.document_limits):
            pass
    manifest = found.manifest
    for label in ("created", "documents", "staged", "passages"):
        typer.echo(f"{label:<12}{getattr(manifest, label)}")
    typer.echo(f"{'encoder':<12}{manifest.encoder.model if manifest.encoder else 'none'}")
    typer.echo(f"{'revision':<12}{manifest.revision}")


@contextmanager
def _target(
    settings: Settings, url: str | None, api_key: str | None
) -> "Iterator[SearchClient | FolderCollections]":
    """The server at `url`, or the data folder if there is no `url`."""
    if url is None:
        from service.cli.folder_collections import FolderCollections
        from service.store.data_folder import DataFolder

        with DataFolder.open(settings.data_dir) as folder:
            yield FolderCollections(folder, settings)
        return
    with connected(url, api_key) as client:
        try:
            yield client
        except OSError as error:  # about a file here; a network error is a `SearchError`
            raise SecondpassError(
                f"cannot use {error.filename or 'the file'}: {error.strerror or error}"
            ) from error


def _own_settings(pairs: list[str]) -> dict[str, str | int | float | bool]:
    own: dict[str, str | int | float | bool] = {}
    for pair in pairs:
        name, value = named_value(pair, "set")
        if name in own:
            raise InvalidInputError(f"--set names {name} twice")
        own[name] = _typed(name, value)
    return own


def _typed(name: str, value: str) -> str | int | float | bool:
    """The value in the setting's type; `effective_settings` refuses what does not fit."""
    field = Settings.model_fields.get(name)
    if field is None or field.annotation is None:
        return value
    try:
        typed = TypeAdapter(field.annotation).validate_python(value)
    except ValidationError:
        return value
    if isinstance(typed, float) and not math.isfinite(typed):
        return value  # JSON has no such number
    return typed if isinstance(typed, str | int | float | bool) else value
