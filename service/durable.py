"""Whole files and folders that a crash leaves old or new, and the errors of a full disk.

New content is written beside its place, flushed to the disk, and takes its name in one rename.
Several processes and threads may write one file at once: the last one wins.
"""

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from service.errors import InvalidInputError, StoreError, StoreFullError, StoreLostError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.unfinished-[0-9a-f-]+(?P<old>-old)?", re.DOTALL)
_LEFTOVER_S = 3600
"""What nothing was written to for this long is taken to be left by a crash."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """Which file is at a path, to notice when it is removed or replaced.

    What a process writes to a file that has no name any more is lost with its last descriptor.
    """

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The mark of the file that is there now. Raises `OSError`."""
        found = path.stat()
        return cls(path, found.st_dev, found.st_ino)

    def require_same(self) -> None:
        """Raise `StoreLostError` where another file is there, or none."""
        with explained(f"cannot look at {self.path}"):
            try:
                found = FileMark.of(self.path)
            except FileNotFoundError as error:
                raise StoreLostError(f"{self.path} was removed while it was in use") from error
        if found != self:
            raise StoreLostError(f"{self.path} was replaced while it was in use")


def is_full(error: Exception) -> bool:
    """Whether an error says that the disk or a quota is full, or a file as large as allowed."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    # The library safetensors gives the system's number in words alone.
    found = re.search(r"os error (\d+)", str(error))
    return isinstance(error, StoreFullError) or (found is not None and int(found[1]) in _FULL)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise an `OSError` of the block as a `StoreError`, or as a `StoreFullError`."""
    try:
        yield
    except OSError as error:
        kind = StoreFullError if is_full(error) else StoreError
        raise kind(f"{what}: {error.strerror or error}") from error


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(source: Path, target: Path, aside: Path | None = None) -> None:
    """Flush a file, or a folder and all in it, then rename it to `target`. Raises `OSError`.

    A folder that is at `target` is moved `aside` between the two, and back if the rename fails.
    """
    for path in source.rglob("*") if source.is_dir() else ():
        flush(path)
    flush(source)
    try:
        if aside and target.exists():
            target.replace(aside)
        source.replace(target)
    except BaseException:
        if aside and aside.exists() and not target.exists():
            aside.replace(target)
        raise
    flush(target.parent)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of `path` when the block ends.

    Where the block raises, `path` stays as it was. Raises `StoreError`.
    """
    with _beside(path) as unfinished, unfinished.open("wb") as file:
        yield file


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to write into, which gets the name `path` when the block ends.

    Makes the folders above. With `replace`, a folder that is there goes; after a crash in between
    it may be missing until the next call, which puts it back first. Otherwise raises
    `InvalidInputError` where `path` exists and is no empty folder. Raises `StoreError`.
    """
    make_parents(path)
    with _beside(path, replace=replace) as unfinished:
        if not replace and path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InvalidInputError(f"{path}: is there already", "out")
        unfinished.mkdir()
        yield unfinished


def make_parents(path: Path) -> None:
    """Make the folders above `path`. Raises `StoreError`."""
    with explained(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write a whole file, a line feed after each line; returns how many. Raises `StoreError`.

    Makes the folders above, as the other functions that write do.
    """
    count = 0
    make_parents(path)
    with new_file(path) as file:
        for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is the result
            file.write(line.encode() + b"\n")
    return count


def write_text(path: Path, text: str) -> None:
    """Write a whole file with one line feed at its end. Raises `StoreError`."""
    write_lines(path, [text.rstrip("\n")])


def write_json(path: Path, content: Any) -> None:
    """Write a whole file of indented JSON. Raises `StoreError`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False))


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a whole file, one JSON object a line; returns how many. Raises `StoreError`."""
    return write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def intended_name(name: str) -> str:
    """The name that an unfinished file or folder was to get; any other name as it is."""
    found = _UNFINISHED.fullmatch(name)
    return found["name"] if found else name


@contextmanager
def _beside(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A free path beside `path`; what the block leaves there takes its place."""
    # Processes that share a volume may have the same number.
    suffix = f"{os.getpid()}-{secrets.token_hex(4)}"
    unfinished = path.with_name(f".{path.name}.unfinished-{suffix}")
    old = unfinished.with_name(f"{unfinished.name}-old")
    with explained(f"cannot write {path}"):
        _clear_leftovers(path)
        try:
            yield unfinished
            put(unfinished, path, old if replace else None)
            _remove(old)
        finally:
            _remove(unfinished)


def _clear_leftovers(path: Path) -> None:
    """Put back what a crash left moved aside from `path`; remove what was left long ago."""
    for found in list(path.parent.iterdir()):
        leftover = _UNFINISHED.fullmatch(found.name)
        if leftover is None or leftover["name"] != path.name:
            continue
        with suppress(FileNotFoundError):  # its writer has finished meanwhile
            if leftover["old"] and not path.exists():
                found.replace(path)
            elif time.time() - _last_written(found) > _LEFTOVER_S:
                _remove(found)


def _last_written(path: Path) -> float:
    return max(each.stat().st_mtime for each in (path, *path.rglob("*")))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
