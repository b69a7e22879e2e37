"""How often clients may ask: a token bucket for each."""

import time
from collections.abc import Callable, Hashable
from math import ceil

from cachetools import LRUCache

from service.errors import OverloadedError

_KEPT = 10_000
_LONGEST_WAIT_S = 60


class Rates:
    """What is left in the bucket of each client. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: LRUCache[Hashable, tuple[float, float]] = LRUCache(_KEPT)
        """Tokens, and when there were that many."""

    def take(self, client: Hashable, rate: float, burst: int) -> None:
        """Take a token, of which there are `burst` and `rate` more a second.

        Raises `OverloadedError` where there is none.
        """
        left = self._left(client, rate, burst)
        if left < 1.0:
            raise OverloadedError(
                f"this API key may send {rate:g} requests a second and {burst} at once; try again",
                min(_LONGEST_WAIT_S, ceil((1.0 - left) / rate)),
            )
        self._buckets[client] = left - 1.0, self._clock()

    def charge(self, client: Hashable, tokens: int) -> None:
        """Take more tokens for a request that was let in; later ones wait for them."""
        left, at = self._buckets[client]
        self._buckets[client] = left - tokens, at

    def _left(self, client: Hashable, rate: float, burst: int) -> float:
        left, at = self._buckets.get(client, (float(burst), self._clock()))
        return min(float(burst), left + (self._clock() - at) * rate)
