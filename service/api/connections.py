"""The open connections of a process: how many it holds, and which ones it closes for others."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

SPARE_DESCRIPTORS = 256
"""File descriptors reserved for the store, the models and new collections."""

STALLED_S = 5.0
"""A client that pauses this long within a request may be disconnected to make room."""

MOST_UNSENT = 256 << 20
"""Bytes of answers that clients have not read yet. Above this, stalled readers are disconnected."""


@dataclass(slots=True)
class Phase:
    """How far the server is between its start and its end."""

    loaded: bool = False
    """Loading has ended or failed: there may be something to close."""
    stopping: bool = False
    """The server was asked to stop: it is no longer ready, and keeps no connection alive."""
    closing: bool = False
    """It no longer listens: what would never end by itself, such as an event stream, ends."""
    cut: bool = False
    """The time for requests is over: all of them end now."""


class Waiting(Protocol):
    def waits_since(self) -> float | None:
        """Since when its client has had to act, on the monotonic clock; None if it need not."""

    def unsent(self) -> int:
        """Bytes of answers that its client has not read yet."""

    def drop(self) -> None:
        """Close it at once, without sending the rest."""


class Connections:
    """Makes room for a new connection by closing one that waits for its client.

    So idle connections cannot shut others out.
    """

    def __init__(self, most: int, header_timeout_s: float, phase: Phase) -> None:
        self.header_timeout_s, self.phase = header_timeout_s, phase
        allowed = _allowed_by_the_system()
        self._most = most if allowed is None else min(most, allowed)
        self.open: set[Waiting] = set()
        self.idle: dict[Waiting, None] = {}
        """Those between two requests or within a head; the longest waiting one comes first."""
        if self._most < most:
            text = "max_connections is %d, but the limit on open files leaves room for %d"
            log.warning(text, most, self._most)

    def make_room(self) -> bool:
        """Whether one more connection fits, after closing another if need be."""
        if len(self.open) < self._most:
            return True
        longest = next(iter(self.idle), None) or min(
            self._stalled(), key=lambda one: one.waits_since() or 0.0, default=None
        )
        if longest is not None:
            longest.drop()
        return longest is not None

    def forget(self, connection: Waiting) -> None:
        self.open.discard(connection)
        self.idle.pop(connection, None)

    def shed(self) -> None:
        """Close a quarter of the idle ones: the system has no descriptor for a new one."""
        for one in list(islice(self.idle, 1 + len(self.idle) // 4)):
            one.drop()

    def bound_unsent(self) -> None:
        """Close stalled readers, the longest stalled first, until less is unsent."""
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
    """Lets a log line through once a minute at most."""

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
    """Connections that leave enough file descriptors for the rest; None without a limit."""
    if resource is None:
        return None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if most == resource.RLIM_INFINITY else most - min(SPARE_DESCRIPTORS, most // 4)
