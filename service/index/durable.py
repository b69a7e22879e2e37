"""Making sure that what was written is on the disk."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.errors import StoreError, StoreFullError, StoreLostError

_FULL = {errno.ENOSPC, errno.EDQUOT}


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
        try:
            found = FileMark.of(self.path)
        except FileNotFoundError as error:
            raise StoreLostError(f"{self.path} was removed while it was in use") from error
        except OSError as error:
            raise store_error(f"cannot look at {self.path}", error) from error
        if found != self:
            raise StoreLostError(f"{self.path} was replaced while it was in use")


def store_error(what: str, error: OSError) -> StoreError:
    """`what`, and why not: a `StoreFullError` where the disk or a quota is full."""
    kind = StoreFullError if error.errno in _FULL else StoreError
    return kind(f"{what}: {error.strerror or error}")


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
