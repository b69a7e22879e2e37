"""From a system's name, as recipes have it, to what prepares its trainings."""

from collections.abc import Callable
from importlib import import_module

from service.errors import InvalidInputError
from service.training.system import Job, Prepared

SYSTEMS = {
    "clp-moe": "clp_moe",
    "cross-encoder": "listwise_cross_encoder",
    "interaction": "interaction_head",
    "pair-contrastive": "pair_contrastive",
    "smart-binary": "smart_binary",
    "sse-matryoshka": "sse_matryoshka",
    "weighted-bce": "weighted_bce",
}
"""Name -> module of this package."""


def load_system(name: str) -> Callable[[Job], Prepared]:
    """The system's function that reads and splits the labels, loads the base and builds the rest.

    Raises `InvalidInputError` for a name that no system has.
    """
    if name not in SYSTEMS:
        raise InvalidInputError(
            f"there is no system {name!r}; there are {', '.join(sorted(SYSTEMS))}", "system"
        )
    module = import_module(f"service.training.systems.{SYSTEMS[name]}")
    prepare: Callable[[Job], Prepared] = module.prepare
    return prepare
