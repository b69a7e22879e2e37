"""What a model system gives the trainer: model, rows, loss, and the figures to judge it by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.settings import Settings
from service.training.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from torch import nn


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
    say: Callable[[str], None] = lambda _stage: None
    """Told what takes its time before the first step, in a few words."""


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
