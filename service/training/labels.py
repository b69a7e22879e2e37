"""Labels on their way into a training: their source, and the part of the split that gets them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from service.collection import data_sha256
from service.errors import InvalidInputError
from service.models.folder import file_sha256
from service.training.recipe import Recipe, Training

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

_Options = TypeVar("_Options", bound=BaseModel)
_Row = TypeVar("_Row")


def read_options(recipe: Recipe, model: type[_Options]) -> _Options:
    """A recipe's `[options]` as its system's model. Raises `InvalidInputError`, naming the key."""
    try:
        return model.model_validate(recipe.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("options", *map(str, first["loc"])))
        raise InvalidInputError(f"recipe {recipe.name}: {where}: {first['msg']}", where) from error


def describe(path: Path, rows: int) -> Mapping[str, Any]:
    """A collection's entry in `Prepared.data`: its name, hash and number of rows."""
    resolved = path.resolve()
    if path.is_dir():
        return {"name": resolved.name, "sha256": data_sha256(path), "rows": rows}
    # Files of a folder are mostly named after their kind (`pairs.jsonl`): the folder says more.
    name = f"{resolved.parent.name}/{resolved.name}"
    return {"name": name, "sha256": file_sha256(path), "rows": rows}


def part_of(key: str, training: Training) -> Part:
    """The part for what has this key: by its hash and the seed, whatever the order of rows.

    All rows of one query have one key, so no query stands in two parts.
    """
    place = _hash(f"{training.seed}\0{key}") / 2**64
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
    chosen = sorted(range(len(rows)), key=lambda i: (_hash(f"most\0{seed}\0{key(rows[i])}"), i))
    return [rows[i] for i in sorted(chosen[:count])]


def _hash(text: str) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
