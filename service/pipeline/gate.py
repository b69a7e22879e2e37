"""Who may work when: permits for requests, one owner thread per model, deadlines."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from service.errors import DeadlineError, NotReadyError, OverloadedError

T = TypeVar("T")

CLOSED = "what was asked is being closed"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of its kind together, may take up."""

    query_chars: int
    queue: int
    timeout_ms: int


class Gate:
    """Counts what is under way and turns away what is above `limit`. Event-loop thread only."""

    def __init__(self, limit: int, of: str = "searches") -> None:
        self._limit, self._of = limit, of
        self.in_flight = 0

    def permit(self) -> AbstractContextManager[int]:
        """Hold one permit; raises `OverloadedError` when none is left."""
        return self.permits(1)

    @contextmanager
    def permits(self, most: int) -> Iterator[int]:
        """Hold as many permits as are free, `most` at most; gives their number, 1 or more.

        Raises `OverloadedError` when none is left.
        """
        held = min(most, self._limit - self.in_flight)
        if held < 1:
            raise OverloadedError(f"{self._limit} {self._of} are under way or waiting; try again")
        self.in_flight += held
        try:
            yield held
        finally:
            self.in_flight -= held


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
    """What a thread makes of `future`, which is cancelled where nobody waits for it any more.

    Raises `DeadlineError` when it is not there in time, and `NotReadyError` where the thread's end
    cancelled it.
    """
    try:
        async with asyncio.timeout(deadline.left()) as limit:
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        if not limit.expired():
            raise  # the work's own
        raise DeadlineError("the time allowed ran out") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if future.cancelled() and not (task and task.cancelling()):
            raise NotReadyError(CLOSED) from None  # `close` dropped it, nobody the request
        raise
    finally:
        future.cancel()


class OwnerThread:
    """The one thread that may call a model, as tokenizers keep state between calls."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Run `work` in the thread.

        Raises `DeadlineError` when it has not ended in time. Work that has not begun by then is
        taken out of the queue; work that has begun ends unheard. `NotReadyError` once it is closed.
        """
        try:
            future = self._executor.submit(work)
        except RuntimeError as error:
            raise NotReadyError(CLOSED) from error
        return await outcome(future, deadline)

    def close(self) -> None:
        """Drop what waits, wait for what runs."""
        self._executor.shutdown(wait=True, cancel_futures=True)
