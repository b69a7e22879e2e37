"""Files that are there whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.collection.lines import shown
from service.errors import InvalidInputError


def write_text_lines(path: Path, lines: Iterable[str]) -> int:
    """Write `lines` and a line feed behind each; returns how many. Makes the folder above.

    What stood at `path` stays until the last line is on the disk. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    count = 0
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """The same for one JSON object a line."""
    return write_text_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that takes the name `path` at the end; a failure leaves nothing.

    Raises `InvalidInputError` where `path` exists and is no empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InvalidInputError(f"{shown(path)}: is there already", "out")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
