"""Who goes first: clients share the process's time.

Virtual time, as in start-time fair queuing (Goyal et al., 1996): each client has an account of the
seconds that threads worked for it, and the lowest account goes first. A client with several
requests under way pays more per second, so that a client with one search does not wait for it.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from math import inf
from typing import Self

MOST_WEIGHT = 4
"""A second counts once for each request that the client has under way, up to this many times."""

LEAD_S = 0.1
"""An account waits if it has used this many seconds more than the lowest active one."""

CREDIT_S = 0.5
"""Unused time is kept for a client up to here; older credit is forgotten."""

PATIENCE_S = 1.0
"""Work waits at most this long."""

_LOOK_EVERY_S = 0.05
_KEPT = 64
"""With more accounts than this, those that no longer matter are dropped."""

GREEDY_PARTS = 4
"""A client that is ahead of others does a part in this number of pieces."""


USUAL_SHARE = 0.25
"""A client may fill this part of a queue, unless its key has another share."""


class Caller:
    """A request, and the client that sent it. A caller without a client is a client of its own."""

    def __init__(self, client: str | None = None, share: float = USUAL_SHARE) -> None:
        self.client, self.share = client, share
        self.had = 0.0
        """Seconds that threads worked for it."""
        self.waited = 0.0
        """Seconds that its work waited for a thread, summed over all pieces."""

    def part_of(self, places: int) -> int:
        """How many of a queue's places the client may take: at least one."""
        return max(1, int(places * self.share))

    @property
    def account(self) -> Hashable:
        """Whose account in `Shares` pays for it."""
        return self if self.client is None else self.client


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current_caller() -> Caller:
    """The request under way, or a new caller where there is none, as in a command.

    Tasks and threads that a request starts (`asyncio.to_thread`) have its caller.
    """
    return _caller.get() or Caller()


def current_client() -> str | None:
    """The client of the request under way; None where there is none."""
    return current_caller().client


def on_behalf_of(client: str | None, share: float = USUAL_SHARE) -> AbstractContextManager[Caller]:
    """What follows is a request of this client, which may fill this part of each queue."""
    return _acting(Caller(client, share))


def one_caller() -> AbstractContextManager[Caller]:
    """What follows belongs to the request under way, or all of it to one new caller."""
    return _acting(current_caller())


@contextmanager
def _acting(caller: Caller) -> Iterator[Caller]:
    token = _caller.set(caller)
    try:
        yield caller
    finally:
        _caller.reset(token)


class PartSize:
    """Follows how fast the machine is, so that a part takes about `seconds`.

    A GPU does many times as much as a CPU in that time; so does a static model. What comes
    meanwhile waits for the part under way and no longer.
    """

    def __init__(self, start: int, *, least: int, most: int, seconds: float) -> None:
        self.now = start
        self._least, self._most, self._seconds = least, most, seconds

    @classmethod
    def fixed(cls, size: int) -> Self:
        """The same on every machine."""
        return cls(size, least=size, most=size, seconds=1.0)

    def part(self, *, greedy: bool) -> int:
        """How much to do in one go, for a client that `Shares.is_greedy` or not."""
        return max(1, self.now // GREEDY_PARTS) if greedy else self.now

    def took(self, amount: int, seconds: float) -> None:
        """Note that a part of `amount` took `seconds`."""
        if seconds > 2 * self._seconds:
            self.now = max(self._least, self.now // 2)
        elif seconds < self._seconds / 2 and amount > self.now // 2:
            self.now = min(self._most, 2 * self.now)


class Shares:
    """The accounts of all clients. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        """Notified when work that was held back may go; its lock guards all of this."""
        self._had: dict[Hashable, float] = {}
        self._at_work: Counter[Hashable] = Counter()
        self._left: dict[Hashable, float] = {}
        """When accounts that are not at work last were."""
        self._under_way: Counter[Hashable] = Counter()
        """Pieces of work that threads are doing now."""
        self._in_turn: Counter[Hashable] = Counter()
        """Work in the background that has its turn, or waits for it."""
        self._floor = 0.0

    @contextmanager
    def at_work(self, account: Hashable) -> Iterator[None]:
        """A request of the client is under way: clients that are ahead of it are held back."""
        with self.changed:
            self._open(account)
            self._at_work[account] += 1
        try:
            yield
        finally:
            with self.changed:
                self._at_work[account] -= 1
                if not self._at_work[account]:
                    del self._at_work[account]
                    self._left[account] = self.clock()
                self._raise_floor()
                self.changed.notify_all()

    def had(self, account: Hashable) -> float:
        """The account; hold `changed`."""
        return max(self._had.get(account, 0.0), self._floor - CREDIT_S)

    def may_go(self, account: Hashable, since: float) -> bool:
        """Whether work that has waited `since` then may go; hold `changed`."""
        if self.clock() - since > PATIENCE_S:
            return True
        if self._leads(account, self._at_work):
            return False
        return not self._under_way[account] or not self.is_greedy(account)

    def is_greedy(self, account: Hashable) -> bool:
        """Whether it is ahead of a client that is at work, or was a moment ago.

        That client may ask again at any time and would then wait for what is under way. So a
        client that is ahead works in small parts, one at a time.
        """
        with self.changed:
            return self._leads(account, self._recent())

    def is_alone(self, account: Hashable) -> bool:
        """Whether no other client is at work, or was a moment ago."""
        with self.changed:
            return self._recent() <= {account}

    def charge(self, account: Hashable, seconds: float) -> None:
        """Note that a thread worked `seconds` for the client."""
        with self.changed:
            weight = min(MOST_WEIGHT, max(1, self._at_work[account]))
            self._open(account)
            self._had[account] += seconds * weight
            # What each active account would have had by now, shared evenly.
            self._floor += seconds / (max(1, len(self._at_work)) + len(self._in_turn))
            self._raise_floor()
            self.changed.notify_all()

    @contextmanager
    def turn(self, account: Hashable) -> Iterator[None]:
        """Work of this thread, once it may go: for work in the background.

        It shares with one client at least, which may be between two requests. If it counted alone,
        its time would raise the floor as fast as its account, and it would never be ahead.
        """
        since = self.clock()
        with self.changed:
            self._open(account)
            self._in_turn[account] += 1
            while not self.may_go(account, since):
                self.wait()
            self.begin([account])
        began = self.clock()
        try:
            yield
        finally:
            self.charge(account, MOST_WEIGHT * (self.clock() - began))
            self.end([account])
            with self.changed:
                self._in_turn -= Counter([account])
                # What it used while no client asked is not held against it for ever.
                self._had[account] = min(self._had[account], self._floor + CREDIT_S)

    def begin(self, accounts: Collection[Hashable]) -> None:
        """A piece of work for these clients begins; hold `changed` since `may_go`."""
        self._under_way.update(accounts)

    def end(self, accounts: Collection[Hashable]) -> None:
        """It has ended."""
        with self.changed:
            self._under_way -= Counter(accounts)
            self.changed.notify_all()

    def wait(self) -> None:
        """Until something has changed, or a moment has passed; hold `changed`."""
        self.changed.wait(_LOOK_EVERY_S)

    def _recent(self) -> set[Hashable]:
        moment = self.clock() - PATIENCE_S
        self._left = {other: at for other, at in self._left.items() if at > moment}
        return {*self._at_work, *self._left}

    def _leads(self, account: Hashable, others: Iterable[Hashable]) -> bool:
        least = min((self.had(other) for other in others if other != account), default=inf)
        return self.had(account) - least >= LEAD_S

    def _open(self, account: Hashable) -> None:
        self._had[account] = self.had(account)

    def _raise_floor(self) -> None:
        least = min((self.had(account) for account in self._at_work), default=self._floor)
        self._floor = max(self._floor, least)
        if len(self._had) > _KEPT:
            forgotten = self._floor - CREDIT_S
            self._had = {account: had for account, had in self._had.items() if had > forgotten}


SHARES = Shares()
"""One instance for the process, because all clients share its processors."""
