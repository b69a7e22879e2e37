"""One thread that does the work of many callers, several at a time."""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import NotReadyError
from service.pipeline.gate import CLOSED, Deadline, outcome

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class _Item(Generic[In, Out]):
    """What one caller wants done, and where it waits for it."""

    value: In
    cost: int
    future: Future[Out]


class Batcher(Generic[In, Out]):
    """The one thread that may call a model, for work that is cheaper done together.

    Nothing waits for company: the first of an idle thread starts at once, and what arrives while it
    works is the next pass, up to `budget` of `cost` (one item may be above it). Callers come into a
    pass in the order in which they came, and each time that one has had an item done it stands
    behind all others, so that a caller with many cannot hold up one with few. From one event loop;
    what arrives in the same turn of it is handed over together.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[In]], Sequence[Out]],
        *,
        cost: Callable[[In], int],
        budget: int,
    ) -> None:
        """`work` gives the outcomes in the order of its items; it runs in the thread."""
        self._work, self._cost, self._budget = work, cost, budget
        self._lines: OrderedDict[Hashable, deque[_Item[In, Out]]] = OrderedDict()
        """What waits, by caller; whose turn is next stands first."""
        self._lock = threading.Lock()
        self._closed = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, value: In, deadline: Deadline, caller: Hashable | None = None) -> Out:
        """The outcome for `value`; work without a `caller` is a caller of its own.

        An error is that of `value` alone: where a pass of several fails, each is done again by
        itself. Raises `DeadlineError` when it is not done in time and `NotReadyError` once the
        thread is closed; what has not begun by then, or was given up, is left out of every pass.
        """
        item: _Item[In, Out] = _Item(value, self._cost(value), Future())
        with self._lock:
            if self._closed:
                raise NotReadyError(CLOSED)
            line = self._lines.setdefault(item.future if caller is None else caller, deque())
            line.append(item)
        asyncio.get_running_loop().call_soon(self._wake)
        return await outcome(item.future, deadline)

    def close(self) -> None:
        """Drop what waits, wait for what runs."""
        with self._lock:
            self._closed = True
            waiting = [item for line in self._lines.values() for item in line]
            self._lines.clear()
        for item in waiting:
            item.future.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _wake(self) -> None:
        # One call for each item: more than there are passes, and the last ones find nothing.
        with suppress(RuntimeError):  # closed meanwhile, and the item told so
            self._executor.submit(self._pass)

    def _pass(self) -> None:
        with self._lock:
            items = self._take()
        if items:
            self._do(items)

    def _take(self) -> list[_Item[In, Out]]:
        taken: list[_Item[In, Out]] = []
        left = self._budget
        while self._lines:
            caller, line = next(iter(self._lines.items()))
            if taken and line[0].cost > left and not line[0].future.cancelled():
                break
            item = line.popleft()
            if item.future.set_running_or_notify_cancel():
                taken.append(item)
                left -= item.cost
                self._lines.move_to_end(caller)
            if not line:
                del self._lines[caller]
        return taken

    def _do(self, items: Sequence[_Item[In, Out]]) -> None:
        try:
            outcomes = self._work([item.value for item in items])
            done = list(zip(items, outcomes, strict=True))
        except BaseException as error:  # the caller's, as in an executor
            if len(items) == 1:
                items[0].future.set_exception(error)
                return
            for item in items:
                self._do([item])
            return
        for item, result in done:
            item.future.set_result(result)
