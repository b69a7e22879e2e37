"""Disk space that is kept for deletes: without it a full disk could never be emptied."""

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
"""The reserve takes at most an eighth of the free space."""


class Reserve:
    """A file that takes up space and is given up for as long as a delete needs it.

    Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._most = path, 0
        self._lock = threading.Lock()

    def keep(self, most: int) -> None:
        """Take `most` bytes, or what the disk can spare; none where that fails."""
        self._most = most
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size:
                return
            size = min(most, shutil.disk_usage(self._path.parent).free // _SHARE)
            try:
                with self._path.open("wb") as file:
                    if size:
                        os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                self._path.unlink(missing_ok=True)

    def spend(self, work: Callable[[], T], tidy: Callable[[], None] = lambda: None) -> T:
        """What `work` gives: where the disk is full, with the space that was kept for it.

        `tidy` then frees what `work` needed only for a moment. Raises what `work` raises, a second
        `StoreFullError` too.
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
                    self.keep(self._most)
