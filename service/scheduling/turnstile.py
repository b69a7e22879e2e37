"""Short pieces of work that many clients want done: a few at a time, one of each client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from service.scheduling.clients import current_client


class Turnstile:
    """Lets a few through at a time, in the order in which they come, and one of each client.

    A client that comes many times at once waits for itself. From one event loop.
    """

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._clients: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Be let through."""
        client = current_client()
        own = asyncio.Lock() if client is None else self._clients.get(client) or asyncio.Lock()
        if client is not None:
            self._clients[client] = own
        async with own, self._free:
            yield
