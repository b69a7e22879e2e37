"""Uploads that go on: one that comes too slowly holds what others wait for."""

import asyncio
from collections.abc import AsyncIterator

from service.errors import InvalidInputError

WINDOW_S = 60.0
LEAST_BYTES = 60_000
"""What must come in any such time: a kilobyte a second."""

_PIECE = 1 << 20


async def paced(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The upload in pieces of at least 1 MiB (the last one may be smaller).

    The time that the reader takes for a piece does not count. Raises `InvalidInputError` once
    fewer than `LEAST_BYTES` came in `WINDOW_S` seconds.
    """
    now = asyncio.get_running_loop().time
    piece = bytearray()
    came, waited = 0, 0.0
    while True:
        asked = now()
        try:
            async with asyncio.timeout(WINDOW_S - waited):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            reason = f"fewer than {LEAST_BYTES:,} bytes came in {WINDOW_S:.0f} s"
            raise InvalidInputError(reason, "body") from error
        if chunk is None:
            break
        came, waited = came + len(chunk), waited + now() - asked
        if came >= LEAST_BYTES:
            came, waited = 0, 0.0
        piece += chunk
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
