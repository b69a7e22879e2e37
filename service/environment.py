"""Settings from environment variables, from files they name, and from a configuration file.

A misspelt name stops every command.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from service.errors import InvalidInputError
from service.settings import PREFIX, Settings, environment_variables

CONFIG = "SECONDPASS_CONFIG"
FILE = "_FILE"
"""Ends the name of a variable that names a file with a setting's value."""

OTHER_VARIABLES = {
    CONFIG: "the configuration file, as `--config`",
    "SECONDPASS_API_KEY": "the key of commands that ask a server",
    "SECONDPASS_DEMO": "`1`: the container puts the demo corpus into an empty data folder",
}
"""Variables with the prefix that are not settings."""

_OF_KUBERNETES = re.compile(r"SECONDPASS_(SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")
"""Variables that Kubernetes sets in each container for a Service named `secondpass`."""


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `InvalidInputError` for variables with the prefix that no setting has."""
    of_settings = {
        variable
        for name, field in Settings.model_fields.items()
        for variable in environment_variables(name, field)
    }
    known = {*OTHER_VARIABLES, *of_settings, *(variable + FILE for variable in of_settings)}
    unknown = [
        name
        for name in sorted(environment)
        if (upper := name.upper()).startswith(PREFIX)
        and upper not in known
        and not _OF_KUBERNETES.fullmatch(upper)
    ]
    if unknown:
        raise InvalidInputError("; ".join(_unknown(name, known) for name in unknown))


def configured(
    config: Path | None = None, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The settings that files have: those of `..._FILE` variables, then the configuration file's.

    A setting whose own variable is set is left out, because the variable wins. Raises
    `InvalidInputError`.
    """
    given = {name.upper(): value for name, value in environment.items()}
    path = config or (Path(given[CONFIG]) if given.get(CONFIG) else None)
    found = _config_file(path) if path else {}
    for name, field in Settings.model_fields.items():
        variables = environment_variables(name, field)
        files = [variable + FILE for variable in variables if given.get(variable + FILE)]
        if any(variable in given for variable in variables):
            found.pop(name, None)
            if files:
                raise InvalidInputError(f"{files[0]} and {variables[0]} are both set; keep one")
        elif files:
            found[name] = _read(Path(given[files[0]]), files[0]).strip()
    return found


def _config_file(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(_read(path, "the configuration file"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path} is not valid TOML: {error}", "config") from error
    known = Settings.model_fields.keys()
    if unknown := sorted(found.keys() - known):
        told = "; ".join(f"{name!r}: {_hint(name, known, 'settings', 0.6)}" for name in unknown)
        raise InvalidInputError(f"{path} has unknown settings: {told}", "config")
    return found


def _read(path: Path, of: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{of}: cannot read {path}: {error}") from error


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"unknown environment variable {name}: {_hint(name.upper(), known, 'variables')}"


def _hint(name: str, known: Iterable[str], what: str, cutoff: float = 0.8) -> str:
    near = get_close_matches(name[:100], sorted(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else f"docs/configuration.md lists all {what}"
