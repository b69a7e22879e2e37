"""What answers have in common: the header of timings, and how long ones are written."""

import asyncio
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from service.errors import AnswerTooLargeError

MOST_BYTES = 64 << 20
"""Of the answer to a search, or to a request of several."""

_AT_ONCE_BYTES = 1 << 18
"""Written between two turns of the event loop: about a millisecond's work."""


def server_timing(timings_ms: Mapping[str, float]) -> str:
    """Stages and their milliseconds as the header `Server-Timing` has them."""
    return ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in timings_ms.items())


async def written(whole: BaseModel, field: str, rows: Iterable[BaseModel], most: int) -> bytes:
    """`whole` as JSON with `rows` in its empty list `field`.

    A piece at a time, so that other requests get their turn in between. Raises
    `AnswerTooLargeError` above `most` bytes.
    """
    before, mark, after = whole.model_dump_json().encode().partition(f'"{field}":['.encode())
    pieces: list[bytes] = []
    total = since = 0
    for row in rows:
        piece = row.model_dump_json().encode()
        pieces.append(piece)
        total += len(piece)
        since += len(piece)
        if total > most:
            raise AnswerTooLargeError(MOST_BYTES)
        if since > _AT_ONCE_BYTES:
            since = 0
            await asyncio.sleep(0)
    return before + mark + b",".join(pieces) + after
