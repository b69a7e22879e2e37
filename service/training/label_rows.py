"""Labels on their way into a training: their source, and the part of the split that gets them."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Literal, TypeVar

from datasets import Dataset
from pydantic import BaseModel

from service.datasets import data_sha256
from service.datasets.split import hash_share
from service.errors import InvalidInputError
from service.models.folder import file_sha256
from service.training.recipe import Recipe, Training, validated

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

_Options = TypeVar("_Options", bound=BaseModel)
_Row = TypeVar("_Row")


def read_options(recipe: Recipe, model: type[_Options]) -> _Options:
    """A recipe's `[options]` as its system's model. Raises `InvalidInputError`, naming the key."""
    return validated(model, recipe.options, recipe.name, "options")


def describe(paths: Iterable[Path], read: Iterable[Sized]) -> list[Mapping[str, Any]]:
    """`Prepared.data`: the name, hash and number of rows of each collection."""
    entries: list[Mapping[str, Any]] = []
    for path, rows in zip(paths, read, strict=True):
        resolved = path.resolve()
        if path.is_dir():
            name, sha256 = resolved.name, data_sha256(path)
        else:
            # Most files are named after their kind (`pairs.jsonl`): the folder says more.
            name, sha256 = f"{resolved.parent.name}/{resolved.name}", file_sha256(path)
        entries.append({"name": name, "sha256": sha256, "rows": len(rows)})
    return entries


def dataset(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Dataset:
    return Dataset.from_dict({name: [row[i] for row in rows] for i, name in enumerate(columns)})


def part_of(key: str, training: Training) -> Part:
    """The part for what has this key: by its hash and the seed, whatever the order of rows.

    All rows of one query have one key, so no query is in two parts.
    """
    place = hash_share(f"{training.seed}\0{key}")
    if place < training.test_share:
        return "test"
    return "validation" if place < training.test_share + training.validation_share else "train"


def split(rows: Iterable[tuple[str, _Row]], training: Training) -> dict[Part, list[_Row]]:
    """Rows with their keys, by part, in their order.

    Raises `InvalidInputError` where shares leave nothing to train on, or a part stays empty whose
    share is above 0.
    """
    shares = {"validation": training.validation_share, "test": training.test_share}
    if sum(shares.values()) >= 1:
        raise InvalidInputError(
            "training.validation_share and training.test_share leave nothing to train on", "set"
        )
    parts: dict[Part, list[_Row]] = {part: [] for part in PARTS}
    for key, row in rows:
        parts[part_of(key, training)].append(row)
    for part in PARTS:
        if not parts[part] and shares.get(part, 1):
            raise InvalidInputError(
                f"too few labels: none falls to the {part} part of the split", "collection"
            )
    return parts


def most(rows: Sequence[_Row], count: int, key: Any, seed: int) -> list[_Row]:
    """`count` of the rows, chosen by the hash of their keys, in their order; all where it is 0."""
    if not count or len(rows) <= count:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda i: hash_share(f"most\0{seed}\0{key(rows[i])}"))
    return [rows[i] for i in sorted(order[:count])]
