"""A misspelt environment variable of a setting stops every command."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches

from service.errors import InvalidInputError
from service.settings import PREFIX, Settings, environment_variables

OTHER_VARIABLES = {
    "SECONDPASS_API_KEY": "the key of commands that ask a server",
    "SECONDPASS_DEMO": "`1`: the container puts the demo corpus into an empty data folder",
}
"""Variables with the prefix that are not settings."""

_OF_KUBERNETES = re.compile(r"SECONDPASS_(SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")
"""Variables that Kubernetes sets in each container for a Service named `secondpass`."""


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `InvalidInputError` for variables with the prefix that no setting has."""
    known = set(OTHER_VARIABLES).union(
        *(environment_variables(name, field) for name, field in Settings.model_fields.items())
    )
    unknown = [
        name
        for name in sorted(environment)
        if (upper := name.upper()).startswith(PREFIX)
        and upper not in known
        and not _OF_KUBERNETES.fullmatch(upper)
    ]
    if unknown:
        raise InvalidInputError("; ".join(_unknown(name, known) for name in unknown))


def _unknown(name: str, known: set[str]) -> str:
    near = get_close_matches(name.upper()[:100], sorted(known), n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists all variables"
    return f"unknown environment variable {name}: {hint}"
