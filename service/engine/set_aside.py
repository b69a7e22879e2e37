"""Files that are damaged and can be done without: out of the way, so that a server starts."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from service.durable import explained, flush

log = logging.getLogger(__name__)

FOLDER = "set-aside"


def set_aside(paths: Sequence[Path], why: str) -> None:
    """Move those of `paths` that are there into a folder of their own beside the first.

    Raises `StoreError`.
    """
    parent = paths[0].parent
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder = parent / FOLDER / moment
    with explained(f"cannot move {paths[0]} out of the way"):
        folder.mkdir(parents=True)
        for path in paths:
            if path.exists():
                path.rename(folder / path.name)
        flush(folder)
        flush(parent)
    log.error("%s: set aside in %s", why, folder)
