"""Run files in TREC's format: `query Q0 document rank score tag`, a line for each hit."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from service.durable import write_lines
from service.errors import InvalidInputError

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
