"""Who goes first: the process's time is shared between clients.

Virtual time, as in start-time fair queuing (Goyal et al., 1996): each client has an account of the
seconds that threads worked for it, and the least account goes first. Who asks for much at a time
pays more for each second, so that a client with one search is not kept waiting by one with dozens.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from math import inf

MOST_WEIGHT = 4
"""A second counts once for each request that the client has under way, at most this often."""

LEAD_S = 0.1
"""An account may be so far ahead of the least one of those at work; then it is held back."""

CREDIT_S = 0.5
"""What a client has not used is kept for it up to here; what is older is forgotten."""

PATIENCE_S = 1.0
"""Nothing is held back for longer, whatever the accounts say."""

_LOOK_EVERY_S = 0.05
_KEPT = 64
"""Accounts above which those that say nothing any more are looked for."""


class Shares:
    """The accounts of all clients. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        """Notified when someone who was held back may go; its lock guards all of this."""
        self._had: dict[Hashable, float] = {}
        self._at_work: Counter[Hashable] = Counter()
        self._left: dict[Hashable, float] = {}
        """When those that are not at work were last."""
        self._under_way: Counter[Hashable] = Counter()
        """Pieces of work that threads do at this moment."""
        self._floor = 0.0

    @contextmanager
    def at_work(self, account: Hashable) -> Iterator[None]:
        """A request of the client is under way: those that are ahead of it are held back."""
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
        """Whether what has waited `since` then is to be held back no longer; hold `changed`."""
        if self.clock() - since > PATIENCE_S:
            return True
        if self._leads(account, self._at_work):
            return False
        return not self._under_way[account] or not self.is_greedy(account)

    def is_greedy(self, account: Hashable) -> bool:
        """Whether it is ahead of a client that is at work, or was a moment ago.

        That one may ask again at any time, and would wait for what is under way then: who is ahead
        works in small parts, one at a time.
        """
        with self.changed:
            moment = self.clock() - PATIENCE_S
            self._left = {other: at for other, at in self._left.items() if at > moment}
            return self._leads(account, {*self._at_work, *self._left})

    def charge(self, account: Hashable, seconds: float) -> None:
        """Note that a thread worked `seconds` for the client."""
        with self.changed:
            weight = min(MOST_WEIGHT, max(1, self._at_work[account]))
            self._open(account)
            self._had[account] += seconds * weight
            # What each of those at work would have had by now, shared evenly.
            self._floor += seconds / max(1, len(self._at_work))
            self._raise_floor()
            self.changed.notify_all()

    @contextmanager
    def turn(self, account: Hashable, weight: int = MOST_WEIGHT) -> Iterator[None]:
        """Work of this thread, once it may go: for what goes on behind the requests."""
        since = self.clock()
        with self.changed:
            self._open(account)
            while not self.may_go(account, since):
                self.wait()
            self.begin([account])
        began = self.clock()
        try:
            yield
        finally:
            self.charge(account, weight * (self.clock() - began))
            self.end([account])

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
"""One for the process, as its processors are."""
