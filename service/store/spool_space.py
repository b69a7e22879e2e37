"""How much of the disk archives may take while they arrive."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import OverloadedError, StoreFullError


class SpoolSpace:
    """Bounds the temporary files in a folder: all together take at most half of the free space.

    The other half is for the collections that are made of them, and for other writes. Safe to use
    from several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._taken = folder, 0
        self._lock = threading.Lock()

    @contextmanager
    def borrowed(self) -> Iterator[Callable[[int], None]]:
        """Gives what one file calls before it grows by some bytes; they are given back at the end.

        That raises `StoreFullError` if the file alone is too large, and `OverloadedError` if it is
        too large beside the others.
        """
        own = 0

        def take(size: int) -> None:
            nonlocal own
            with self._lock:
                # What was taken before is on the disk already.
                most = (shutil.disk_usage(self._folder).free + self._taken) // 2
                if own + size > most:
                    raise StoreFullError(f"an archive takes more than {most} bytes of the disk")
                if self._taken + size > most:
                    raise OverloadedError(
                        "archives that are arriving take half of the free disk space; "
                        "try again later",
                        60,
                    )
                own += size
                self._taken += size

        try:
            yield take
        finally:
            with self._lock:
                self._taken -= own
