"""Who may work when: permits for requests, deadlines."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import TypeVar

from service.errors import DeadlineError, NotReadyError, OverloadedError
from service.scheduling.clients import current_client

T = TypeVar("T")

CLOSED = "what was asked is being closed"
TOO_LATE = "the time allowed ran out"

CLIENTS = 4
"""A client holds one in this number of permits at most: that many clients use up a gate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of its kind together, may take up."""

    query_chars: int
    queue: int
    timeout_ms: int


class Gate:
    """Counts what is under way and turns away what is above `limit`. Event-loop thread only.

    A client holds a quarter of the permits at most (one at least), however many requests it sends.
    What no client asked for (`current_client` is None) has the whole limit.
    """

    def __init__(self, limit: int, of: str = "searches") -> None:
        self._limit, self._of = limit, of
        self._held: Counter[str | None] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def in_flight(self) -> int:
        """Permits that are held."""
        return self._held.total()

    def check(self) -> int:
        """Permits that the client could have now; raises `OverloadedError` where there is none."""
        return self._free(current_client())

    def permit(self) -> AbstractContextManager[int]:
        """Hold one permit; raises `OverloadedError` when none is left."""
        return self.permits(1)

    @contextmanager
    def permits(self, most: int) -> Iterator[int]:
        """Hold as many permits as are free, `most` at most; gives their number, 1 or more.

        Raises `OverloadedError` when none is left, or none for this client.
        """
        client = current_client()
        held = min(most, self._free(client))
        self._held[client] += held
        try:
            yield held
        finally:
            self._held[client] -= held
            if not self._held[client]:
                del self._held[client]
            self._wake()

    @asynccontextmanager
    async def patient_permit(
        self, deadline: "Deadline", *, when_full: bool = True
    ) -> AsyncIterator[None]:
        """Hold one permit, and wait for it; raises `DeadlineError` when it is not in time.

        Without `when_full` it waits for the client's own permits only, and raises
        `OverloadedError` at once where others have all of them.
        """
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self.permit())
                    break
                except OverloadedError as error:
                    if not (when_full or isinstance(error, _ShareError)):
                        raise
                    if not deadline.left():
                        raise DeadlineError(TOO_LATE) from error
                await self._release(deadline)
            yield

    async def _release(self, deadline: "Deadline") -> None:
        """Wait until a permit was given back, or the time is up."""
        released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(released)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline.left()):
                await released

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for released in waiting:
            if not released.done():
                released.set_result(None)

    def _free(self, client: str | None) -> int:
        """Permits that this client can have, 1 or more; raises `OverloadedError`."""
        share = max(1, self._limit // CLIENTS) - self._held[client]
        free = self._limit - self.in_flight
        if free < 1:
            raise OverloadedError(f"{self._limit} {self._of} are under way or waiting; try again")
        if client is None:
            return free
        if share < 1:
            raise _ShareError(
                f"{self._held[client]} {self._of} of this client are under way or waiting, and a "
                f"client may have a quarter of {self._limit}; try again"
            )
        return min(free, share)


class _ShareError(OverloadedError):
    """The client has all that it may have; others may still come."""


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._at - time.monotonic())


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in any thread and wait for its end, even where the caller is cancelled."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def outcome(future: Future[T], deadline: Deadline) -> T:
    """What a thread makes of `future`, which is cancelled if no caller waits for it any more.

    Raises `DeadlineError` when it is not there in time, and `NotReadyError` where the thread's end
    cancelled it.
    """
    try:
        async with asyncio.timeout(deadline.left()) as limit:
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        if not limit.expired():
            raise  # the work's own
        raise DeadlineError(TOO_LATE) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if future.cancelled() and not (task and task.cancelling()):
            raise NotReadyError(CLOSED) from None  # `close` dropped it, no caller cancelled it
        raise
    finally:
        future.cancel()
