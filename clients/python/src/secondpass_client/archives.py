"""Archives of collections on this side's disk."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from secondpass_client.errors import UnexpectedAnswerError

_PIECE_BYTES = 1 << 18


class Ending(NamedTuple):
    """How a whole archive ends: the last `size` bytes begin with `start`."""

    size: int
    start: bytes


TAR = Ending(1024, bytes(1024))
ZIP = Ending(22, b"PK\x05\x06")


class Download:
    """A new file that takes the place of `path` once a whole archive is in it, on the disk."""

    def __init__(self, path: Path, ending: Ending = TAR) -> None:
        self._path, self._unfinished = path, path.with_name(f".{path.name}.unfinished")
        self._ending = ending
        self._file = self._unfinished.open("w+b")

    def write(self, piece: bytes) -> None:
        """Add to it."""
        self._file.write(piece)

    def keep(self) -> None:
        """Put it at `path`. Raises `UnexpectedAnswerError` if it was cut off."""
        self._file.seek(max(0, self._file.seek(0, os.SEEK_END) - self._ending.size))
        if not self._file.read().startswith(self._ending.start):
            raise UnexpectedAnswerError("the archive was cut off; ask for it again")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.replace(self._path)

    def close(self) -> None:
        """Remove it if it was not kept; what was at `path` then stays."""
        with suppress(OSError):  # the error before this one says more
            self._file.close()
            self._unfinished.unlink(missing_ok=True)


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file."""
    while piece := file.read(_PIECE_BYTES):
        yield piece
