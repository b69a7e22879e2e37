"""The thread, or the few, that may call a model or a writer do the work of many callers."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from service.errors import NotReadyError
from service.scheduling.gate import CLOSED, Deadline, outcome
from service.scheduling.shares import SHARES, Caller, PartSize, Shares, current_caller

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[In, Out]):
    """One piece of work, and where its caller waits for the outcome."""

    value: In
    cost: int
    future: Future[Out]
    caller: Caller
    since: float


class Batcher(Generic[In, Out]):
    """One thread for work that is cheaper done together.

    An idle thread starts at once. What arrives while it works is the next pass, up to `budget` of
    `cost` (one item may be above it). The client that has had least comes first, and of its
    requests the one that has had least. So a client with many requests cannot hold up one with few,
    nor a large request a small one. A client that is far ahead of others waits while they are at
    work, at most `shares.PATIENCE_S` for each pass; `Shares.is_greedy` limits its part of a pass.
    Call it from one event loop; what arrives in the same turn of the loop is handed over together.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[In]], Sequence[Out]],
        *,
        cost: Callable[[In], int],
        budget: int | PartSize,
        shares: Shares = SHARES,
        threads: int = 1,
    ) -> None:
        """`work` runs in a thread and gives the outcomes in the order of its items.

        Only work that may run several times at once may have more than one of the `threads`.
        """
        self._work, self._cost, self._shares = work, cost, shares
        self._budget = budget if isinstance(budget, PartSize) else PartSize.fixed(budget)
        self._lines: dict[Caller, deque[_Item[In, Out]]] = {}
        """What waits, by caller, in the order of arrival."""
        self._last_pass: dict[Hashable, float] = {}
        """When an account that still has work waiting was last in a pass."""
        self._closed = False
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, value: In, deadline: Deadline) -> Out:
        """The outcome for `value`, wanted by the request under way.

        An error is that of `value` alone: if a pass of several fails, each is done again by itself.
        Raises `DeadlineError` when it is not done in time and `NotReadyError` once the thread is
        closed. What has not begun by then, or was cancelled, is left out.
        """
        caller, shares = current_caller(), self._shares
        item: _Item[In, Out] = _Item(value, self._cost(value), Future(), caller, shares.clock())
        with shares.changed:
            if self._closed:
                raise NotReadyError(CLOSED)
            self._lines.setdefault(caller, deque()).append(item)
            shares.changed.notify_all()
        if self._budget.now > 1:
            asyncio.get_running_loop().call_soon(self._wake)
        else:
            self._wake()  # nothing is done together
        return await outcome(item.future, deadline)

    def close(self) -> None:
        """Drop what waits; wait for what runs."""
        with self._shares.changed:
            self._closed = True
            waiting = [item for line in self._lines.values() for item in line]
            self._lines.clear()
            self._shares.changed.notify_all()
        for item in waiting:
            item.future.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _wake(self) -> None:
        # One call for each item, which is more than there are passes: the last ones find nothing.
        with suppress(RuntimeError):  # closed meanwhile; the item was told so
            self._executor.submit(self._pass)

    def _pass(self) -> None:
        with self._shares.changed:
            while not (items := self._take()) and self._lines:
                self._shares.wait()
            accounts = {item.caller.account for item in items}
            self._shares.begin(accounts)
        try:
            if items:
                self._do(items)
        finally:
            self._shares.end(accounts)

    def _take(self) -> list[_Item[In, Out]]:
        taken: list[_Item[In, Out]] = []
        left = self._budget.now
        # Apart, because the account of a caller without a client is that caller.
        by_account: Counter[Hashable] = Counter()
        by_caller: Counter[Caller] = Counter()
        self._drop_cancelled()
        room = {
            account: self._budget.part(greedy=self._shares.is_greedy(account))
            for account, since in self._waiting_since().items()
            if self._shares.may_go(account, since)
        }
        while callers := [caller for caller in self._lines if caller.account in room]:
            # Ties go to the first. What is in this pass counts before any time was measured.
            caller = min(
                callers,
                key=lambda c: (
                    by_account[c.account],
                    self._shares.had(c.account),
                    by_caller[c],
                    c.had,
                ),
            )
            line = self._lines[caller]
            if taken and line[0].cost > left:
                break
            if by_account[caller.account] and line[0].cost > room[caller.account]:
                del room[caller.account]
                continue
            item = line.popleft()
            if not line:
                del self._lines[caller]
            if item.future.set_running_or_notify_cancel():
                taken.append(item)
                caller.waited += self._shares.clock() - item.since
                left -= item.cost
                room[caller.account] -= item.cost
                by_account[caller.account] += 1
                by_caller[caller] += 1
        self._last_pass |= {item.caller.account: self._shares.clock() for item in taken}
        return taken

    def _waiting_since(self) -> dict[Hashable, float]:
        """Since when each account has waited: since it asked or since its last pass."""
        asked: dict[Hashable, float] = {}
        for caller, line in self._lines.items():
            asked[caller.account] = min(asked.get(caller.account, line[0].since), line[0].since)
        self._last_pass = {a: at for a, at in self._last_pass.items() if a in asked}
        return {a: max(since, self._last_pass.get(a, since)) for a, since in asked.items()}

    def _drop_cancelled(self) -> None:
        for caller, line in list(self._lines.items()):
            while line and line[0].future.cancelled():
                line.popleft()
            if not line:
                del self._lines[caller]

    def _do(self, items: Sequence[_Item[In, Out]]) -> None:
        began = self._shares.clock()
        try:
            try:
                outcomes = self._work([item.value for item in items])
            finally:
                self._charge(items, self._shares.clock() - began)
            done = list(zip(items, outcomes, strict=True))
        except BaseException as error:  # raised in the caller, as an executor does
            if len(items) == 1:
                items[0].future.set_exception(error)
                return
            for item in items:
                self._do([item])
            return
        for item, result in done:
            item.future.set_result(result)

    def _charge(self, items: Sequence[_Item[In, Out]], seconds: float) -> None:
        total = sum(max(1, item.cost) for item in items)
        with self._shares.changed:
            self._budget.took(total, seconds)
            for item in items:
                part = seconds * max(1, item.cost) / total
                item.caller.had += part
                self._shares.charge(item.caller.account, part)


class OwnerThread:
    """Does one piece of work at a time, or one in each thread, in the order of a `Batcher`."""

    def __init__(self, name: str, shares: Shares = SHARES, threads: int = 1) -> None:
        self._batcher = Batcher[Callable[[], Any], Any](
            name,
            lambda works: [works[0]()],
            cost=lambda _: 1,
            budget=1,
            shares=shares,
            threads=threads,
        )
        self.close = self._batcher.close

    async def run(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Run `work` in the thread.

        Raises `DeadlineError` when it has not ended in time, and `NotReadyError` once the thread is
        closed. Work that has not begun by the deadline is dropped.
        """
        return cast(T, await self._batcher.run(work, deadline))
