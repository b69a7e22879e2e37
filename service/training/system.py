"""What a model system gives the trainer: model, rows, loss, and the figures to judge it by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import InvalidInputError
from service.settings import Settings
from service.training.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from torch import nn


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. Steps are optimizer steps; losses are None before the first."""

    step: int
    steps: int
    loss: float | None
    validation_loss: float | None
    examples_per_second: float


OnProgress = Callable[[Progress | str], None]
"""Hears of each step, and in words of what takes its time before the first and after the last."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training: what the command was asked for.

    `collections` are folders or files with labels; `base` is the recipe's base as a folder on this
    disk (made ready by `service.models.sources.prepare`), `out` where the model goes; `device` is
    `cpu`, `cuda` or `cuda:N`. `settings` are the command's, where a system needs other models.
    """

    recipe: Recipe
    collections: tuple[Path, ...]
    base: Path
    out: Path
    device: str = "cpu"
    settings: Settings | None = None
    say: OnProgress = lambda _progress: None


@dataclass(slots=True)
class Prepared:
    """All that the trainer needs.

    `train` and `validation` are what the loss takes; their columns stand in the loss's order, with
    `label` or `score` last. `figures` measures the current model on held-out labels, by
    name, higher is better; it is called before and after. `save` writes the model into a folder.
    `data` names each collection with its SHA-256 and its number of rows, for the model card.
    `arguments` goes to the trainer's own arguments, over the recipe's. `callbacks` are transformers
    callbacks.
    """

    model: "SentenceTransformer | CrossEncoder | nn.Module"
    train: "Dataset"
    validation: "Dataset"
    loss: "nn.Module"
    figures: Callable[[], Mapping[str, float]]
    save: Callable[[Path], None]
    data: Sequence[Mapping[str, Any]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Sequence[Any] = ()
    collate: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] | None = None
    """Rows to the arguments of a model that is a plain module and gives its loss itself."""
    notes: Sequence[str] = ()
    """For the model card: how rows were made, split or left out, a sentence each."""


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
