"""Uploads on the disk, until their job has ended: `jobs/ID.ndjson` in the data folder."""

import codecs
import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from service.durable import explained, flush, put


@dataclass(frozen=True, slots=True)
class Upload:
    """A whole upload that is on the disk; `lines` counts those that are not blank."""

    id: str
    sha256: str
    bytes: int
    lines: int


class Spool:
    """The folder of uploads. An upload is there as a whole or, after `remove_others`, not at all.

    Every method may raise `StoreError`, or `StoreFullError` where the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with explained(f"cannot use {folder}"):
            folder.mkdir(exist_ok=True)
            flush(folder.parent)

    def new(self) -> "PartialUpload":
        """Begin an upload."""
        return PartialUpload(self._folder, uuid.uuid4().hex)

    def path(self, id_: str) -> Path:
        """Where the upload is."""
        return self._folder / f"{id_}.ndjson"

    def remove(self, id_: str) -> None:
        """Let go of an upload; nothing where it is gone."""
        with explained(f"cannot use {self._folder}"):
            self.path(id_).unlink(missing_ok=True)

    def remove_others(self, ids: Collection[str]) -> None:
        """Let go of all but those of `ids`: what a process left that died at the wrong moment."""
        wanted = {self.path(id_) for id_ in ids}
        with explained(f"cannot use {self._folder}"):
            for path in self._folder.iterdir():
                if path not in wanted and path.suffix in {".ndjson", ".partial"}:
                    path.unlink()


class PartialUpload:
    """An upload that is on its way. Leave the `with` block without `complete` and it is gone."""

    def __init__(self, folder: Path, id_: str) -> None:
        self._id = id_
        self._path, self._whole = folder / f"{id_}.partial", folder / f"{id_}.ndjson"
        self._hash = hashlib.sha256()
        self._bytes = self._lines = 0
        self._line_has_text = False
        with explained(f"cannot use {folder}"):
            # Unbuffered: what is written is large, and a full disk is told at once.
            self._file = self._path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append `data`: the first time at least three bytes, where the upload has as many."""
        with explained(f"cannot use {self._path}"):
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        self._hash.update(data)
        self._count_lines(data.removeprefix(codecs.BOM_UTF8) if self._bytes == 0 else data)
        self._bytes += len(data)

    def complete(self) -> Upload:
        """Make sure that all of it is on the disk, and give it its name."""
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
            if kind is not None:  # after `complete`, perhaps
                self._whole.unlink(missing_ok=True)
