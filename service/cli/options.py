"""Flags made from `Settings`, so that a setting is described in one place."""

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape

from service.environment import CONFIG, configured
from service.errors import InvalidInputError
from service.settings import Settings, environment_variables, settings_about

SEARCH_SETTINGS = settings_about("models", "encoder", "passages", "reranker", "ranking", "limits")
"""The settings of every command that fills or searches an index."""

FOLDER_SETTINGS = ("data_dir", *SEARCH_SETTINGS)
"""The settings of every command that opens a data folder."""

CollectionOption = Annotated[
    list[Path], typer.Option("--collection", help="BEIR folder; give the option again for more.")
]
QueriesOption = Annotated[
    int | None, typer.Option("--queries", min=1, help="Queries of a collection, drawn at random.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the random draw.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
SystemOption = Annotated[
    list[str] | None,
    typer.Option(
        "--system",
        metavar="NAME=SETTING=VALUE,...",
        help="A system to compare: these settings over the command's; give it again for more.",
    ),
]

_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help=escape(f"TOML file with settings. [env: {CONFIG}]"),
            show_default=False,
            rich_help_panel="Settings",
        ),
    ],
)

Command = Callable[..., None]


def flag(name: str) -> str:
    """The flag of a setting: `data_dir` -> `--data-dir`."""
    return "--" + name.replace("_", "-")


def with_settings(*names: str) -> Callable[[Command], Command]:
    """Give a command a flag for each named setting; it receives them as `settings`."""
    flags = [_CONFIG, *(_parameter(name, Settings.model_fields[name]) for name in names)]
    return with_parameters("settings", flags, read_settings)


def with_parameters(
    name: str, parameters: Sequence[inspect.Parameter], read: Callable[[dict[str, Any]], Any]
) -> Callable[[Command], Command]:
    """Replace the parameter `name` of a command by `parameters`, one flag each.

    The command receives what `read` makes of the values that are not None.
    """

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != name]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {parameter.name: values.pop(parameter.name) for parameter in parameters}
            stated = {key: value for key, value in given.items() if value is not None}
            command(**{name: read(stated)}, **values)

        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *parameters)]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in keyword}
        return run

    return decorate


def named_value(text: str, option: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """The two parts of `text`. Raises `InvalidInputError` if one of them is missing."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InvalidInputError(f"--{option} takes {form}, not {text!r}", option)
    return name, value


def read_settings(given: dict[str, Any]) -> Settings:
    """Settings from flags, the environment, files and defaults, in this order.

    `config` is the configuration file. Errors name the flag.
    """
    config = given.pop("config", None)
    try:
        return Settings(**{**configured(config), **given})
    except ValidationError as error:
        problems = [_problem(found["loc"], found["msg"]) for found in error.errors()]
        raise InvalidInputError("; ".join(problems)) from error


def _problem(location: tuple[int | str, ...], message: str) -> str:
    name, text = str(location[0]) if location else "", message.removeprefix("Value error, ")
    if name not in Settings.model_fields:
        return text
    variable = environment_variables(name, Settings.model_fields[name])[0]
    return f"{flag(name)} ({variable}): {text}"


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    is_switch = info.annotation is bool
    spelled = flag(name)
    variables = " or ".join(environment_variables(name, info))
    option = typer.Option(
        f"{spelled}/--no-{spelled[2:]}" if is_switch else spelled,
        help=escape(f"{info.description} [env: {variables}]"),
        show_default=_default(info),
        metavar=None if is_switch else _metavar(info),
        rich_help_panel="Settings",
    )
    kind: Any = bool | None if is_switch else str | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _default(info: FieldInfo) -> str | bool:
    value = info.get_default(call_default_factory=True, validated_data={})
    return str(value) if value not in (None, frozenset()) else False


def _metavar(info: FieldInfo) -> str:
    names = {int: "N", float: "X", str: "TEXT"}
    return names.get(info.annotation, "VALUE") if isinstance(info.annotation, type) else "VALUE"


def console(*, stderr: bool = False) -> Console:
    """A console that prints every text as it is, with `[brackets]` and `:names:`."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
