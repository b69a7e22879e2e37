"""Disk space that is kept for deletes: without it, a full disk could never be emptied."""

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from service.errors import StoreFullError

T = TypeVar("T")

_SHARE = 8
"""A new reserve takes at most an eighth of the free space."""


class Reserve:
    """A file that takes up space and is given up for as long as a delete needs it.

    Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._most, self._had = path, 0, 0
        self._lock = threading.Lock()

    def keep(self, most: int) -> None:
        """Take `most` bytes, or what the disk can spare; none where that fails."""
        self._most, self._had = most, self._size()
        if not self._had:
            self._take()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _take(self) -> None:
        """Take as much as before, or a share of the free space if that is more.

        On a full disk the free space is what was given up here: a share would shrink each time.
        """
        with suppress(OSError):
            free = shutil.disk_usage(self._path.parent).free
            size = min(self._most, max(min(self._had, free), free // _SHARE))
            while size and not self._allocate(size):
                size //= 2  # the file system needs some itself
            self._had = max(self._had, size)

    def _allocate(self, size: int) -> bool:
        with self._path.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, size)
            return True
        return False

    def spend(self, work: Callable[[], T], tidy: Callable[[], None] = lambda: None) -> T:
        """What `work` returns; on a full disk it is called again with the reserve given up.

        `tidy` then frees what `work` needed only for a moment. Raises what `work` raises.
        """
        try:
            return work()
        except StoreFullError:
            with self._lock:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
                try:
                    return work()
                finally:
                    tidy()
                    self._take()
