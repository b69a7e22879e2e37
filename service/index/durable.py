"""Making sure that what was written is on the disk."""

import errno
import os
from pathlib import Path

from service.errors import StoreError, StoreFullError

_FULL = {errno.ENOSPC, errno.EDQUOT}


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
