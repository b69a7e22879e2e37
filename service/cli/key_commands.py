"""Commands on the API keys of a data folder: keys."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from service.cli.options import console, with_settings
from service.errors import InvalidInputError
from service.settings import Settings

if TYPE_CHECKING:
    from service.store.key_file import KeyRecord

_PERIOD = re.compile(r"(\d{1,5})([dh])")
_WHEN = "%Y-%m-%d %H:%M"

NameOption = Annotated[str, typer.Argument(help="The client's name; several keys may have it.")]
ScopeOption = Annotated[
    list[str],
    typer.Option("--scope", help="search, write, admin or metrics; give it again for more."),
]
CollectionOption = Annotated[
    list[str] | None,
    typer.Option("--collection", help="Only this collection or alias; give it again for more."),
]
FilterOption = Annotated[
    str | None,
    typer.Option("--filter", help="Only documents with this metadata, in JSON: docs/filters.md."),
]
ExpiryOption = Annotated[
    str | None,
    typer.Option(help="When it expires: 90d, 12h, or a date in ISO 8601. Default: never."),
]
RateOption = Annotated[float | None, typer.Option(help="Requests a second. Default: no limit.")]
BurstOption = Annotated[
    int | None, typer.Option(help="Requests at once, before the rate applies. Default: the rate.")
]
ShareOption = Annotated[
    float | None, typer.Option(help="Part of each queue that it may fill. Default: 0.25.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Make, list and revoke API keys; a running server notices within a second.",
        no_args_is_help=True,
    )
    for name, command in (("create", create_key), ("list", list_keys), ("revoke", revoke_key)):
        group.command(name)(with_settings("data_dir", "keys_file")(command))
    app.add_typer(group, name="keys")


def create_key(
    name: NameOption,
    settings: Settings,
    scope: ScopeOption,
    collection: CollectionOption = None,
    filter_: FilterOption = None,
    expires: ExpiryOption = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    share: ShareOption = None,
) -> None:
    """Make a key and show it. It is not shown again."""
    from service.api.schemas.filter_schemas import filters_from_text
    from service.store.key_file import KeyFile

    if burst is not None and rate is None:
        raise InvalidInputError("--burst needs --rate", "burst")
    key = KeyFile.of(settings).create(
        name,
        scopes=tuple(dict.fromkeys(scope)),
        collections=tuple(dict.fromkeys(collection)) if collection else None,
        filters=None if filter_ is None else filters_from_text(filter_),
        expires=_moment(expires) if expires else None,
        limits={"rate": rate, "burst": burst, "share": share},
    )
    typer.echo(key)
    typer.echo("keep it now: it is not shown again, and the server has only its hash", err=True)


def list_keys(settings: Settings) -> None:
    """Show the keys without their secrets."""
    from service.store.key_file import KeyFile

    table = Table("id", "name", "scopes", "collections", "filter", "limits", "created", "expires")
    now = datetime.now(UTC)
    for key in KeyFile.of(settings).read():
        limits = key.limits.model_dump(exclude_none=True)
        table.add_row(
            key.id,
            key.name,
            ", ".join(key.scopes),
            ", ".join(key.collections or ("all",)),
            json.dumps(key.filters, ensure_ascii=False) if key.filters else "",
            ", ".join(f"{what} {value:g}" for what, value in limits.items()),
            f"{key.created:{_WHEN}}" if key.created else "",
            _end(key, now),
        )
    console().print(table)


def revoke_key(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME_OR_ID", help="A name, for all its keys, or the id of one key."
        ),
    ],
    settings: Settings,
) -> None:
    """Revoke a key, or all keys of a name."""
    from service.store.key_file import KeyFile

    for key in KeyFile.of(settings).revoke(name):
        typer.echo(f"{key.name} {key.id} is revoked")


def _end(key: "KeyRecord", now: datetime) -> str:
    if key.expires is None:
        return "never"
    return f"{key.expires:{_WHEN}}{'' if key.is_live(now) else ' (expired)'}"


def _moment(text: str) -> datetime:
    """When a key ends. Raises `InvalidInputError` for what is no moment of the future."""
    now = datetime.now(UTC).replace(microsecond=0)
    if period := _PERIOD.fullmatch(text):
        number, unit = int(period[1]), period[2]
        moment = now + (timedelta(days=number) if unit == "d" else timedelta(hours=number))
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidInputError("takes 90d, 12h or a date in ISO 8601", "expires") from error
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if moment <= now:
        raise InvalidInputError("is not in the future", "expires")
    return moment
