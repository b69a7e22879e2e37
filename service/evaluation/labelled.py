"""The collections of an evaluation, read and checked before the first of them is measured."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.collection import data_sha256, open_collection
from service.errors import SecondpassError
from service.evaluation.metrics import Qrels
from service.evaluation.run import sample
from service.evaluation.systems import collection_names

log = logging.getLogger(__name__)

_Measured = TypeVar("_Measured")


@dataclass(frozen=True, slots=True)
class Draw:
    """Which queries are asked: so many of a collection (None for all), and how they are found."""

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


def read_labelled(paths: Sequence[Path], draw: Draw, max_chars: int) -> list[Labelled]:
    """Read every collection whole, one after the other.

    Raises `InvalidInputError` for the first row that breaks a rule, with file, line and field.
    """
    collections = []
    for name, path in zip(collection_names(paths), paths, strict=True):
        found = open_collection(path, max_chars=max_chars)
        judged = found.judged
        chosen = sample(judged, draw.queries, draw.seed)
        queries = {query: found.queries[query] for query in chosen}
        qrels = {query: judged[query] for query in chosen}
        digest = data_sha256(path)
        collections.append(Labelled(name, path, digest, queries, qrels, found.warnings))
    return collections


def measure_each(
    collections: Sequence[Labelled], measured: Callable[[Labelled], _Measured]
) -> tuple[list[_Measured], dict[str, str]]:
    """What could be measured, and why the other collections could not, by name.

    An interruption ends it, and counts as the failure of those that are left. Raises the first
    failure where no collection could be measured.
    """
    results: list[_Measured] = []
    failed: dict[str, BaseException] = {}
    for number, labelled in enumerate(collections):
        try:
            results.append(measured(labelled))
        except KeyboardInterrupt as error:
            failed |= dict.fromkeys((left.name for left in collections[number:]), error)
            break
        except SecondpassError as error:
            failed[labelled.name] = error
        except Exception as error:
            log.exception("%s cannot be measured", labelled.name)
            failed[labelled.name] = error
    if failed and not results:
        raise next(iter(failed.values()))
    return results, {name: _reason(error) for name, error in failed.items()}


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SecondpassError):
        return str(error)
    return f"{type(error).__name__}: {error}"
