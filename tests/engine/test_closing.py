"""What waits for a thread that closes is told so; a request that is given up stays given up."""

import asyncio
import threading

import pytest

from service.errors import NotReadyError
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline


def test_what_waits_in_the_queue_of_a_thread_that_closes_is_told_so() -> None:
    async def run() -> None:
        thread, may_end = OwnerThread("test"), threading.Event()
        running = asyncio.create_task(thread.run(Deadline(10), lambda: may_end.wait(10)))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(thread.run(Deadline(10), lambda: 1))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(asyncio.to_thread(thread.close))
        with pytest.raises(NotReadyError, match="closed"):
            await waiting
        may_end.set()
        assert await running is True
        await closing
        with pytest.raises(NotReadyError, match="closed"):
            await thread.run(Deadline(10), lambda: 1)

    asyncio.run(run())


def test_a_caller_who_gives_up_is_cancelled_and_not_told_otherwise() -> None:
    async def run() -> None:
        thread, may_end = OwnerThread("test"), threading.Event()
        running = asyncio.create_task(thread.run(Deadline(10), lambda: may_end.wait(10)))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(thread.run(Deadline(10), lambda: 1))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_end.set()
        await running
        thread.close()

    asyncio.run(run())
