"""Keeps the searches of one request from taking every place behind the encoder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import DeadlineError
from service.scheduling.gate import Deadline

SIDE_BY_SIDE = 2
"""Searches of one request that are behind the encoder at a time: one is retrieved while one is
reranked."""


class Lane:
    """Lets one request's searches past the encoder, `SIDE_BY_SIDE` at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(SIDE_BY_SIDE)

    @asynccontextmanager
    async def turn(self, deadline: Deadline) -> AsyncIterator[None]:
        """Be one of the `SIDE_BY_SIDE`; raises `DeadlineError` when it is not in time."""
        try:
            async with asyncio.timeout(deadline.left() if self._turns.locked() else None):
                await self._turns.acquire()
        except TimeoutError as error:
            raise DeadlineError("the time allowed ran out") from error
        try:
            yield
        finally:
            self._turns.release()
