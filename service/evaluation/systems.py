"""What is compared: systems, which are settings with names, and run files in TREC's format."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.durable import write_lines
from service.errors import InvalidInputError
from service.settings import DECIDING, Settings

ScoredRun = Mapping[str, Sequence[tuple[str, float]]]
"""Query id -> (document id, score), best first."""

_COLUMNS = 6
_SPACE = re.compile(r"\s")


def write_run(path: Path, run: ScoredRun, tag: str) -> None:
    """Write `run`, queries in the order of their ids, whole or not at all.

    Readers order by score. If a query's scores rise on the way down, as those of two stages may,
    1 / rank replaces all of that query's scores.

    Raises `InvalidInputError` for an id or tag with white space, which the format cannot hold, and
    `StoreError` if the file cannot be written.
    """
    lines = []
    for query in sorted(run):
        hits = run[query]
        falling = all(a[1] >= b[1] for a, b in pairwise(hits))
        for rank, (document, score) in enumerate(hits, 1):
            shown = score if falling else 1.0 / rank
            for name, value in (("query", query), ("document", document), ("tag", tag)):
                if not value or _SPACE.search(value):
                    raise InvalidInputError(
                        f"a run file cannot hold the {name} id {value!r}: white space", name
                    )
            lines.append(f"{query} Q0 {document} {rank} {shown!r} {tag}")
    write_lines(path, lines)


def read_run(path: Path) -> dict[str, list[tuple[str, float]]]:
    """Hits of each query, by falling score; ties go by rank and then by document id.

    Raises `InvalidInputError` with file, line and field for a line that breaks the format, or a
    document that occurs twice for a query.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}", "run") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: not valid UTF-8", "run") from error
    rows: dict[str, dict[str, tuple[float, int]]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        columns = line.split()
        if len(columns) != _COLUMNS:
            raise _wrong(path, number, None, f"has {len(columns)} columns, not {_COLUMNS}")
        query, _, document, rank, score, _ = columns
        if document in rows.setdefault(query, {}):
            raise _wrong(path, number, "document", f"{document!r} occurs twice for {query!r}")
        rows[query][document] = (_score(path, number, score), _rank(path, number, rank))
    return {query: _ordered(documents) for query, documents in rows.items()}


def _ordered(documents: Mapping[str, tuple[float, int]]) -> list[tuple[str, float]]:
    found = sorted(documents.items(), key=lambda row: (-row[1][0], row[1][1], row[0]))
    return [(document, score) for document, (score, _rank) in found]


def _score(path: Path, number: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise _wrong(path, number, "score", f"{text!r} is not a finite number")
    return score


def _rank(path: Path, number: int, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _wrong(path, number, "rank", f"{text!r} is not an integer") from error


def _wrong(path: Path, line: int, field: str | None, reason: str) -> InvalidInputError:
    where = f"{path}, line {line}"
    return InvalidInputError(
        f"{where}: {field}: {reason}" if field else f"{where}: {reason}", field
    )


_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True, slots=True)
class System:
    name: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class RunFile:
    """A ranking from elsewhere, by name: a run file, or a folder of `<collection>.trec` files."""

    name: str
    path: Path

    def read(self, collection: str, queries: Sequence[str]) -> ScoredRun:
        """The run of `queries` on a collection. Raises `InvalidInputError` if it has none."""
        path = self.path / f"{collection}.trec" if self.path.is_dir() else self.path
        run = read_run(path)
        found = {query: run[query] for query in queries if query in run}
        if not found:
            raise InvalidInputError(f"{path}: holds none of the queries of {collection}", "run")
        return found


def parse_system(text: str, base: Settings) -> System:
    """`NAME=SETTING=VALUE,SETTING=VALUE`: `base` with these settings changed, perhaps none.

    Raises `InvalidInputError` for another form, a setting that no system may change, and a wrong
    value.
    """
    name, equals, rest = text.partition("=")
    changes: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, given, value = part.partition("=")
        if not given:
            raise InvalidInputError(f"system {name}: {part!r} is not SETTING=VALUE", "system")
        key = key.strip().replace("-", "_")
        if key in changes:
            raise InvalidInputError(f"system {name}: {key} is given twice", "system")
        changes[key] = value.strip()
    if not equals:
        raise InvalidInputError(f"{text!r} is not NAME=SETTING=VALUE,...", "system")
    return _system(name.strip(), changes, base)


def read_systems(path: Path, base: Settings) -> list[System]:
    """A TOML file with a table of settings for each system, in the file's order.

    Raises `InvalidInputError` as `parse_system` does, and if the file cannot be read.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}", "systems") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: {error}", "systems") from error
    systems = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InvalidInputError(f"{path}: {name}: must be a table of settings", "systems")
        systems.append(_system(name, table, base))
    return systems


def parse_run(text: str) -> RunFile:
    """`NAME=PATH`. Raises `InvalidInputError` for another form or a path that is not there."""
    name, equals, path = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise InvalidInputError(f"{text!r} is not NAME=PATH", "run")
    if not Path(path).exists():
        raise InvalidInputError(f"{path}: there is no such file or folder", "run")
    return RunFile(name, Path(path))


def check_names(names: Sequence[str]) -> None:
    """Raise `InvalidInputError` for a name that two rankings have."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(f"there are two systems or runs named {', '.join(twice)}", "system")


def collection_names(paths: Sequence[Path]) -> list[str]:
    """A name for each collection: its folder's, with folders above it if names are equal.

    Raises `InvalidInputError` for a folder that is given twice.
    """
    folders = [path.resolve() for path in paths]
    names = [_name(folder, 1) for folder in folders]
    for depth in range(2, max((len(f.parts) for f in folders), default=0) + 1):
        names = [
            _name(folder, depth) if names.count(name) > 1 else name
            for folder, name in zip(folders, names, strict=True)
        ]
    for folder, name in zip(folders, names, strict=True):
        if names.count(name) > 1:
            raise InvalidInputError(f"{folder}: the collection is given twice", "collection")
    return names


def _name(folder: Path, depth: int) -> str:
    return re.sub(r"[^\w.+-]", "_", "-".join(folder.parts[-depth:]))


def _system(name: str, changes: Mapping[str, Any], base: Settings) -> System:
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"{name!r} is no name: letters, digits and _ . + - only", "system")
    for key in changes:
        if key not in DECIDING:
            known = ", ".join(DECIDING)
            raise InvalidInputError(f"system {name}: {key}: is none of {known}", "system")
    try:
        return System(name, Settings(**{**base.model_dump(), **changes}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"system {name}: {where}: {first['msg']}", "system") from error
