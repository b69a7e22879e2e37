"""The files of bulk jobs in the data folder: `jobs.db`, and `jobs/ID.ndjson` for each upload."""

import codecs
import hashlib
import logging
import os
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.durable import explained, flush, put
from service.errors import StoreError, StoreFullError, StoreLockedError
from service.store.database import files_of
from service.store.job_store import JobStore
from service.store.reserve import Reserve

log = logging.getLogger(__name__)

SET_ASIDE = "set-aside"
"""The folder in the data folder for damaged files."""


def open_job_store(folder: Path, reserve: Reserve | None) -> tuple[JobStore, str | None]:
    """The jobs of the data folder, and a note if a damaged file was replaced by an empty one.

    The damaged file and its uploads are set aside, so that the server starts. Raises `StoreError`.
    """
    path, uploads = folder / "jobs.db", folder / "jobs"
    if path.exists():
        store = None
        try:
            store = JobStore(path, reserve)
            store.require_sound()
        except (StoreLockedError, StoreFullError):
            raise
        except StoreError as error:
            if store:
                store.close()
            if not os.access(path, os.R_OK | os.W_OK):
                raise
            reason = f"{path} cannot be used ({error})"
        else:
            return store, None
    elif uploads.is_dir() and any(uploads.glob("*.ndjson")):
        reason = f"{path} is missing although there are uploads"
    else:
        return JobStore(path, reserve), None
    _set_aside([*files_of(path), uploads], reason)
    note = "the bulk jobs were lost; their file was set aside, see the log"
    return JobStore(path, reserve), note


def _set_aside(paths: Sequence[Path], reason: str) -> None:
    """Move those of `paths` that exist into a new folder beside the first."""
    parent = paths[0].parent
    folder = parent / SET_ASIDE / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    with explained(f"cannot move {paths[0]} out of the way"):
        folder.mkdir(parents=True)
        for path in paths:
            if path.exists():
                path.rename(folder / path.name)
        flush(folder)
        flush(parent)
    log.error("%s: set aside in %s", reason, folder)


@dataclass(frozen=True, slots=True)
class Upload:
    """A complete upload on the disk; `lines` does not count blank ones."""

    id: str
    sha256: str
    bytes: int
    lines: int


class Spool:
    """The folder of uploads. After `remove_others`, every upload in it is complete.

    Every method may raise `StoreError`, or `StoreFullError` if the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with explained(f"cannot use {folder}"):
            folder.mkdir(exist_ok=True)
            flush(folder.parent)

    def new(self) -> "PartialUpload":
        return PartialUpload(self._folder, uuid.uuid4().hex)

    def path(self, id_: str) -> Path:
        return self._folder / f"{id_}.ndjson"

    def remove(self, id_: str) -> None:
        with explained(f"cannot use {self._folder}"):
            self.path(id_).unlink(missing_ok=True)

    def remove_others(self, ids: Collection[str]) -> None:
        """Remove all uploads but `ids`: leftovers of a process that died."""
        kept = {self.path(id_) for id_ in ids}
        with explained(f"cannot use {self._folder}"):
            for path in self._folder.iterdir():
                if path not in kept and path.suffix in {".ndjson", ".partial"}:
                    path.unlink()


class PartialUpload:
    """An upload that is arriving. It is removed if the `with` block ends without `complete`."""

    def __init__(self, folder: Path, id_: str) -> None:
        self._id = id_
        self._path, self._whole = folder / f"{id_}.partial", folder / f"{id_}.ndjson"
        self._hash = hashlib.sha256()
        self._bytes = self._lines = 0
        self._line_has_text = False
        with explained(f"cannot use {folder}"):
            # Unbuffered: pieces are large, and a full disk is noticed at once.
            self._file = self._path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append `data`; the first piece must hold three bytes if the upload has that many."""
        with explained(f"cannot use {self._path}"):
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        self._hash.update(data)
        self._count_lines(data.removeprefix(codecs.BOM_UTF8) if self._bytes == 0 else data)
        self._bytes += len(data)

    def complete(self) -> Upload:
        """Flush the file to the disk and give it its final name."""
        with explained(f"cannot use {self._path}"):
            self._file.close()
            put(self._path, self._whole)
        lines = self._lines + self._line_has_text
        return Upload(self._id, self._hash.hexdigest(), self._bytes, lines)

    def _count_lines(self, data: bytes) -> None:
        *ended, last = data.split(b"\n")
        for piece in ended:
            self._lines += self._line_has_text or bool(piece.strip())
            self._line_has_text = False
        self._line_has_text = self._line_has_text or bool(last.strip())

    def __enter__(self) -> "PartialUpload":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        with explained(f"cannot use {self._path}"):
            self._file.close()
            self._path.unlink(missing_ok=True)
            if kind is not None:  # `complete` may have renamed it already
                self._whole.unlink(missing_ok=True)
