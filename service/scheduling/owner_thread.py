"""The one thread that may call what keeps state between calls: a model, a writer."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from service.scheduling.batcher import Batcher
from service.scheduling.gate import Deadline
from service.scheduling.shares import SHARES, Shares

T = TypeVar("T")


class OwnerThread:
    """Does one piece of work at a time; whose turn is next is decided as in a `Batcher`."""

    def __init__(self, name: str, shares: Shares = SHARES) -> None:
        self._batcher: Batcher[Callable[[], Any], Any] = Batcher(
            name,
            lambda works: [work() for work in works],
            cost=lambda _: 1,
            budget=1,
            shares=shares,
        )

    async def run(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Run `work` in the thread.

        Raises `DeadlineError` when it has not ended in time. Work that has not begun by then is
        taken out of the queue; work that has begun ends unheard. `NotReadyError` once it is closed.
        """
        return cast(T, await self._batcher.run(work, deadline))

    def close(self) -> None:
        """Drop what waits, wait for what runs."""
        self._batcher.close()
