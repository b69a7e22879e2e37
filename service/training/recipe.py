"""Recipes: TOML files that say which system is trained from which base, and how.

A recipe has the keys `name`, `system`, `base` and two tables: `[training]`, alike for all systems,
and `[options]`, which the system reads with a model of its own.
"""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from service import strict_json
from service.errors import InvalidInputError

_Model = TypeVar("_Model", bound=BaseModel)


class Training(BaseModel, frozen=True, extra="forbid"):
    """What every trainer needs. Defaults are those of no seed; recipes name their own.

    `learning_rate` is the peak; `warmup` the share of all steps that lead up to it. `max_length` is
    in tokens. `patience` counts evaluations without a better validation loss; 0 never stops
    early. `evaluate_every` is in optimizer steps; 0 means once an epoch. `max_steps` -1 means all
    epochs. `precision` is that of the passes forward and backward, weights stay in float32; `auto`
    is bf16 or else fp16 on a GPU, and fp32 on a CPU, where bf16 pays if the CPU has it.
    """

    learning_rate: float = Field(2e-5, gt=0, allow_inf_nan=False)
    batch_size: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    epochs: float = Field(1.0, gt=0)
    max_steps: int = Field(-1, ge=-1)
    warmup: float = Field(0.1, ge=0, le=1)
    scheduler: Literal["linear", "cosine", "constant", "reduce_lr_on_plateau"] = "linear"
    weight_decay: float = Field(0.0, ge=0)
    adam_epsilon: float = Field(1e-8, gt=0)
    max_length: int = Field(256, ge=8, le=8192)
    patience: int = Field(3, ge=0)
    evaluate_every: int = Field(0, ge=0)
    validation_share: float = Field(0.1, ge=0, lt=1)
    test_share: float = Field(0.1, ge=0, lt=1)
    no_duplicates: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(0, ge=0)


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """One recipe. `base` is a registry name, a folder or a hub name."""

    name: str
    system: str
    base: str
    training: Training = Training()
    options: dict[str, Any] = Field(default_factory=dict)


def shipped_recipes() -> list[str]:
    folder = files("service.training").joinpath("recipes")
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or the file at that path, with `key=value` changes applied.

    A key is dotted (`training.batch_size`); a value is JSON, or else a string. Raises
    `InvalidInputError` for an unknown recipe, key or value, and names it.
    """
    raw = _read(name)
    for change in changes:
        _apply(raw, change)
    return validated(Recipe, raw, name)


def validated(model: type[_Model], content: object, recipe: str, *table: str) -> _Model:
    """A part of a recipe as its model. Raises `InvalidInputError`, which names the key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (*table, *first["loc"])))
        raise InvalidInputError(f"recipe {recipe}: {where}: {first['msg']}", where) from error


def _read(name: str) -> dict[str, Any]:
    try:
        if name in shipped_recipes():
            shipped = files("service.training").joinpath("recipes", f"{name}.toml")
            return tomllib.loads(shipped.read_text(encoding="utf-8"))
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"there is no recipe {name!r}; shipped are {', '.join(shipped_recipes())}", "recipe"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"recipe {name}: {error}", "recipe") from error


def _apply(raw: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise InvalidInputError(f"{change!r} is not of the form key=value", "set")
    *tables, last = key.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise InvalidInputError(f"{key}: {table} is no table", "set")
    try:
        raw[last] = strict_json.loads(value)
    except ValueError:
        raw[last] = value
