"""From a system's name, as recipes have it, to its module."""

import pkgutil
from importlib import import_module
from typing import cast

from service.errors import InvalidInputError
from service.training import systems
from service.training.system import System


def system_names() -> list[str]:
    """Names of the systems in this package, as recipes have them: with dashes."""
    modules = (module.name for module in pkgutil.iter_modules(systems.__path__))
    return sorted(name.replace("_", "-") for name in modules if name != "registry")


def load_system(name: str) -> System:
    """The module of that system. Raises `InvalidInputError` for a name that none has."""
    known = system_names()
    if name.replace("_", "-") not in known:
        raise InvalidInputError(
            f"there is no system {name!r}; there are {', '.join(known)}", "system"
        )
    module = import_module(f"{systems.__name__}.{name.replace('-', '_')}")
    return cast("System", module)
