"""How long a request waits: permits, deadlines, turns, and the pace of slow uploads."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from service.errors import DeadlineError, InvalidInputError, NotReadyError, OverloadedError
from service.scheduling.shares import current_caller, current_client

T = TypeVar("T")

CLOSED = "what was asked is being closed"
TOO_LATE = "the time allowed ran out"

WINDOW_S = 60.0
LEAST_BYTES = 60_000
"""The fewest bytes of an upload per `WINDOW_S`: a kilobyte a second."""

PIECE = 1 << 18
"""Bytes of an upload that are held in memory before they are written."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of its kind together, may take up."""

    query_chars: int
    queue: int
    timeout_ms: int


class Gate:
    """Counts what is under way and turns away what is above `limit`. Event-loop thread only.

    A client holds at most its share of the permits, and at least one. Work without a client
    (`current_client` is None) has the whole limit.
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
        """Permits that the client could have now, 1 or more; else raises `OverloadedError`."""
        caller = current_caller()
        client, most = caller.client, caller.part_of(self._limit)
        share = most - self._held[client]
        free = self._limit - self.in_flight
        if free < 1:
            raise OverloadedError(f"{self._limit} {self._of} are under way or waiting; try again")
        if client is None:
            return free
        if share < 1:
            raise _ShareError(
                f"{self._held[client]} {self._of} of this client are under way or waiting, and it "
                f"may have {most} of {self._limit}; try again"
            )
        return min(free, share)

    def permit(self) -> AbstractContextManager[int]:
        """Hold one permit; raises as `check`."""
        return self.permits(1)

    @contextmanager
    def permits(self, most: int) -> Iterator[int]:
        """Hold up to `most` permits; gives their number. Raises as `check`."""
        client, held = current_client(), min(most, self.check())
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
        """Hold one permit, and wait for it; raises `DeadlineError` when it is not free in time.

        Without `when_full` it waits for the client's own permits only, and raises
        `OverloadedError` at once where others have all of them.
        """
        while True:
            try:
                self.check()
                break
            except OverloadedError as error:
                if not (when_full or isinstance(error, _ShareError)):
                    raise
                if not deadline.left():
                    raise DeadlineError(TOO_LATE) from error
            await self._release(deadline)
        with self.permit():
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
    """Run `work` in any thread and wait for its end, even if the caller is cancelled."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def outcome(future: Future[T], deadline: Deadline) -> T:
    """The result of `future`, which is cancelled once no caller waits for it.

    Raises `DeadlineError` when it is not there in time, and `NotReadyError` if closing the thread
    cancelled it.
    """
    # `asyncio.timeout` and `asyncio.wrap_future` cost three times as much; a search waits for four
    # pieces of work.
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def tell(_done: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end)

    future.add_done_callback(tell)
    timer = loop.call_later(deadline.left(), end)
    try:
        await ended
        if not future.done():
            raise DeadlineError(TOO_LATE)
        if future.cancelled():
            raise NotReadyError(CLOSED)  # `close` dropped it
        return future.result()
    finally:
        timer.cancel()
        future.cancel()


class Turnstile:
    """Lets a few through at a time, in the order of arrival, and one of each client.

    For short pieces of work. From one event loop.
    """

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._clients: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block."""
        client = current_client()
        own = asyncio.Lock() if client is None else self._clients.get(client) or asyncio.Lock()
        if client is not None:
            self._clients[client] = own
        async with own, self._free:
            yield


class Pace:
    """How fast a body comes. Only the time spent waiting for it counts."""

    def __init__(self) -> None:
        self._came, self._waited = 0, 0.0

    async def wait_for(self, some: Callable[[], Awaitable[T]]) -> T:
        """The next part of the body; report its bytes to `heard`.

        Raises `InvalidInputError` once fewer than `LEAST_BYTES` came in `WINDOW_S` seconds.
        """
        now = asyncio.get_running_loop().time
        asked = now()
        try:
            async with asyncio.timeout(WINDOW_S - self._waited) as limit:
                part = await some()
        except TimeoutError as error:
            if not limit.expired():
                raise
            reason = f"fewer than {LEAST_BYTES:,} bytes came in {WINDOW_S:.0f} s"
            raise InvalidInputError(reason, "body") from error
        self._waited += now() - asked
        return part

    def heard(self, count: int) -> None:
        """Count bytes that came."""
        self._came += count
        if self._came >= LEAST_BYTES:
            self._came, self._waited = 0, 0.0


async def paced(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The upload in pieces of at least `PIECE` bytes (the last one may be smaller).

    The time that the caller takes for a piece does not count. Raises as `Pace.wait_for`.
    """
    pace = Pace()
    piece = bytearray()
    while (chunk := await pace.wait_for(lambda: anext(chunks, None))) is not None:
        pace.heard(len(chunk))
        piece += chunk
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
