"""The collections of an evaluation, read and checked before the first of them is measured."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.datasets import data_sha256, open_collection
from service.evaluation.measures import Qrels
from service.evaluation.systems import collection_names
from service.settings import Settings
from service.types import MAX_TEXT_CHARS


@dataclass(frozen=True, slots=True)
class Draw:
    """Which queries are asked: `queries` of each collection (None for all), drawn by `seed`."""

    queries: int | None = None
    seed: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Labelled:
    """A collection without its documents: the queries that are asked, and their grades."""

    name: str
    path: Path
    data_sha256: str
    queries: dict[str, str]
    qrels: Qrels
    warnings: tuple[str, ...]


def read_labelled(
    paths: Sequence[Path], draw: Draw, systems: Iterable[Settings], *, findable: bool = False
) -> list[Labelled]:
    """Read every collection whole, one after the other, within the limits of all `systems`.

    With `findable`, grades of documents without text are left out. Raises `InvalidInputError` for
    the first row that breaks a rule, with file, line and field.
    """
    max_chars = min((one.max_document_chars for one in systems), default=MAX_TEXT_CHARS)
    collections = []
    for name, path in zip(collection_names(paths), paths, strict=True):
        found = open_collection(path, max_chars=max_chars)
        grades = found.qrels if findable else found.judged
        chosen = sample(grades, draw.queries, draw.seed)
        queries = {query: found.queries[query] for query in chosen}
        qrels = {query: grades[query] for query in chosen}
        digest = data_sha256(path)
        collections.append(Labelled(name, path, digest, queries, qrels, found.warnings))
    return collections


def sample(ids: Iterable[str], count: int | None, seed: int) -> list[str]:
    """`count` of the ids (all for None), drawn with a seed that does not depend on their order."""
    ordered = sorted(ids)
    if count is None or count >= len(ordered):
        return ordered
    return sorted(random.Random(seed).sample(ordered, count))  # noqa: S311 - no secret
