"""The open connections of a process, how many it can hold, and how long it does."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

try:
    import resource
except ImportError:  # not on Windows, where there is no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

SPARE_DESCRIPTORS = 256
"""Open files that are left for the store, the models and new collections."""

STALLED_S = 5.0
"""A client that is waited for in the middle of a request has had its chance after this long."""

MOST_UNSENT = 256 << 20
"""Bytes of answers that wait for their clients to read. Above that, clients that have stopped
reading are closed."""


@dataclass(slots=True)
class Phase:
    """Where the server is between its start and its end; read where something has to act on it."""

    loaded: bool = False
    """Loading has ended, well or not: there may be something to close."""
    stopping: bool = False
    """The server was asked to end: it is not ready any more, and keeps no connection."""
    closing: bool = False
    """It no longer listens: what has no end of its own, such as a stream of events, ends."""
    cut: bool = False
    """Requests have had their time: all that is under way ends now."""


class Waiting(Protocol):
    """A connection."""

    def waits_since(self) -> float | None:
        """Since when its client has to do something, in seconds of the monotonic clock."""

    def unsent(self) -> int:
        """Bytes of answers that its client has not taken yet."""

    def drop(self) -> None:
        """Close it at once, whatever was still to be sent."""


class Connections:
    """Makes room for a new connection by closing one that waits for its client.

    So idle connections cannot shut others out, however many there are.
    """

    def __init__(self, most: int) -> None:
        allowed = _allowed_by_the_system()
        self._most = most if allowed is None else min(most, allowed)
        self.open: set[Waiting] = set()
        self.idle: dict[Waiting, None] = {}
        """Those between two requests or in a request's head, the one waiting longest first."""
        if self._most < most:
            text = "max_connections is %d, but the limit on open files leaves room for %d"
            log.warning(text, most, self._most)

    def make_room(self) -> bool:
        """Whether one more fits in, now that room has been made."""
        if len(self.open) < self._most:
            return True
        longest = next(iter(self.idle), None) or min(
            self._stalled(), key=lambda one: one.waits_since() or 0.0, default=None
        )
        if longest is not None:
            longest.drop()
        return longest is not None

    def forget(self, connection: Waiting) -> None:
        """It is closed."""
        self.open.discard(connection)
        self.idle.pop(connection, None)

    def shed(self) -> None:
        """Close a part of the idle ones: the system has nothing left for a new one."""
        for one in list(islice(self.idle, 1 + len(self.idle) // 4)):
            one.drop()

    def bound_unsent(self) -> None:
        """Close stalled readers, the longest stalled first, while too much waits for them."""
        total = sum(one.unsent() for one in self.open)
        if total <= MOST_UNSENT:
            return
        stalled = [one for one in self._stalled() if one.unsent()]
        for one in sorted(stalled, key=lambda one: one.waits_since() or 0.0):
            total -= one.unsent()
            one.drop()
            if total <= MOST_UNSENT:
                return

    def _stalled(self) -> Iterator[Waiting]:
        latest = time.monotonic() - STALLED_S
        for one in self.open:
            since = one.waits_since()
            if since is not None and since < latest:
                yield one


class Rarely:
    """Lets a log line through once a minute, however often its cause comes."""

    def __init__(self, every_s: float = 60.0) -> None:
        self._every_s, self._next = every_s, 0.0

    def __call__(self) -> bool:
        """Whether the line may be written now."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every_s
        return True


def _allowed_by_the_system() -> int | None:
    """Connections that leave enough open files for all else; None without a limit."""
    if resource is None:
        return None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if most == resource.RLIM_INFINITY else most - min(SPARE_DESCRIPTORS, most // 4)
