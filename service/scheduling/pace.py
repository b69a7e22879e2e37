"""Bodies that go on coming: one that comes too slowly is given up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from service.errors import InvalidInputError

T = TypeVar("T")

WINDOW_S = 60.0
LEAST_BYTES = 60_000
"""What must come in any such time: a kilobyte a second."""

PIECE = 1 << 18
"""Bytes of an upload that are held in memory before they are written."""


class Pace:
    """How fast a body comes. The time in which nothing of it is waited for does not count."""

    def __init__(self) -> None:
        self._came, self._waited = 0, 0.0

    async def wait_for(self, some: Callable[[], Awaitable[T]]) -> T:
        """The next part of the body, whose bytes are then told by `heard`.

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

    The time that the reader takes for a piece does not count. Raises as `Pace.wait_for`.
    """
    pace = Pace()
    piece = bytearray()
    while (chunk := await pace.wait_for(lambda: _next(chunks))) is not None:
        pace.heard(len(chunk))
        piece += chunk
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
