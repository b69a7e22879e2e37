"""Commands on the collections of a data folder or a server: collections, snapshot."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from service.cli.console import console
from service.cli.options import MODEL_SETTINGS, with_settings
from service.errors import InvalidInputError, SecondpassError
from service.settings import Settings

if TYPE_CHECKING:
    from service.client import SearchClient

UrlOption = Annotated[
    str | None, typer.Option(help="Ask this server instead of opening the data folder.")
]
KeyOption = Annotated[str | None, typer.Option(envvar="SECONDPASS_API_KEY", help="Key for --url.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE: a setting other than the server's, such as encoder."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
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
        group.command(name)(with_settings(*MODEL_SETTINGS)(command))
    app.add_typer(group, name="collections")
    snapshots = typer.Typer(help="Archives of a collection.", no_args_is_help=True)
    snapshots.command("create")(with_settings(*MODEL_SETTINGS)(create_snapshot))
    snapshots.command("restore")(with_settings(*MODEL_SETTINGS)(restore_snapshot))
    limits = with_settings("max_document_chars", "max_title_chars")
    snapshots.command("check")(limits(check_snapshot))
    app.add_typer(snapshots, name="snapshot")


def list_collections(settings: Settings, url: UrlOption = None, api_key: KeyOption = None) -> None:
    """Show the collections, and the aliases that lead to them."""
    if url is not None:
        with _server(url, api_key) as client:
            rows = [
                (c.name, c.aliases, c.documents, c.passages, c.staged, c.settings)
                for c in client.collections()
            ]
    else:
        from service.pipeline.offline import overview  # noqa: PLC0415

        rows = overview(settings)
    table = Table("name", "aliases", "documents", "passages", "staged", "settings")
    for name, aliases, *figures, own in rows:
        shown = ["-" if figure is None else str(figure) for figure in figures]
        table.add_row(name, ", ".join(aliases), *shown, json.dumps(own) if own else "")
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
    if url is not None:
        with _server(url, api_key) as client:
            client.create_collection(name, wanted)
    else:
        from service.pipeline.offline import create as run  # noqa: PLC0415

        run(settings, name, wanted)
    typer.echo(f"{name} is there")


def delete(name: str, settings: Settings, url: UrlOption = None, api_key: KeyOption = None) -> None:
    """Remove a collection and all its documents, for good."""
    _run(
        url,
        api_key,
        lambda client: client.delete_collection(name),
        lambda: _in_folder(settings, lambda folder: folder.drop(name)),
    )
    typer.echo(f"{name} is gone")


def alias(
    name: Annotated[str, typer.Argument(help="The alias, such as default.")],
    settings: Settings,
    collection: Annotated[
        str | None, typer.Argument(help="The collection that it leads to from now on.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Let an alias lead to a collection, or remove it with --remove."""
    if remove == (collection is not None):
        raise InvalidInputError("give a collection, or else --remove", "collection")
    if collection is None:
        _run(
            url,
            api_key,
            lambda client: client.delete_alias(name),
            lambda: _in_folder(settings, lambda folder: folder.catalog.remove_alias(name)),
        )
        typer.echo(f"{name} is gone")
        return
    _run(
        url,
        api_key,
        lambda client: client.set_alias(name, collection),
        lambda: _in_folder(settings, lambda folder: folder.catalog.set_alias(name, collection)),
    )
    typer.echo(f"{name} leads to {collection}")


def create_snapshot(
    out: Annotated[Path, typer.Argument(help="Archive to write (.tar); one that is there goes.")],
    settings: Settings,
    collection: Annotated[str, typer.Option(help="A collection or an alias.")] = "default",
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Write an archive of a collection: documents, passages, vectors, checksums."""

    def offline() -> None:
        from service.pipeline.offline import snapshot  # noqa: PLC0415

        snapshot(settings, collection, out)

    _run(url, api_key, lambda client: client.snapshot(out, collection), offline)
    typer.echo(f"{out}: {out.stat().st_size} bytes")


def restore_snapshot(
    path: Annotated[Path, typer.Argument(help="Archive that `snapshot create` wrote.")],
    name: Annotated[str, typer.Argument(help="Name of the new collection.")],
    settings: Settings,
    re_embed: Annotated[
        bool, typer.Option("--re-embed", help="Encode all documents anew, with the own models.")
    ] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Make a collection from an archive, once all of it is verified."""
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}")

    def offline() -> None:
        from service.pipeline.offline import restore  # noqa: PLC0415

        restore(settings, path, name, re_embed=re_embed)

    _run(url, api_key, lambda client: client.restore(path, name, re_embed=re_embed), offline)
    typer.echo(f"{name} is there")
    if re_embed:
        typer.echo("its documents are encoded by the server that has it open")


def check_snapshot(
    path: Annotated[Path, typer.Argument(help="Archive to verify.")], settings: Settings
) -> None:
    """Verify every size, count and hash of an archive, and show what is in it."""
    from service.pipeline.offline import checked  # noqa: PLC0415

    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}")
    for label, value in checked(settings, path).items():
        typer.echo(f"{label:<12}{value}")


def _run(
    url: str | None,
    api_key: str | None,
    on_server: "Callable[[SearchClient], object]",
    offline: Callable[[], None],
) -> None:
    if url is None:
        offline()
        return
    with _server(url, api_key) as client:
        try:
            on_server(client)
        except OSError as error:  # of a file here; what the network does is a `SearchError`
            raise SecondpassError(
                f"cannot use {error.filename or 'the file'}: {error.strerror or error}"
            ) from error


@contextmanager
def _server(url: str, api_key: str | None) -> "Iterator[SearchClient]":
    from service.client import SearchClient, SearchError  # noqa: PLC0415

    try:
        client = SearchClient(url, api_key=api_key)
    except ValueError as error:
        raise InvalidInputError(f"--url or --api-key: {error}") from error
    try:
        with client:
            yield client
    except SearchError as error:
        raise SecondpassError(f"{url}: {error}") from error


def _in_folder(settings: Settings, change: "Callable[..., object]") -> None:
    from service.index.data_folder import DataFolder  # noqa: PLC0415

    with DataFolder.open(settings.data_dir) as folder:
        change(folder)


def _own_settings(pairs: list[str]) -> dict[str, str | int | float | bool]:
    own: dict[str, str | int | float | bool] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InvalidInputError(f"--set takes NAME=VALUE, not {pair!r}")
        if name in own:
            raise InvalidInputError(f"--set names {name} twice")
        own[name] = _typed(name, value)
    return own


def _typed(name: str, value: str) -> str | int | float | bool:
    """The value as the setting's type has it; what does not fit is refused further on."""
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
