"""The passages that filters keep, remembered for as long as nothing is written.

Where a filter keeps many of a million passages, reading their ids takes longer than the search.
"""

import threading

from cachetools import LRUCache

from service.store.filter_grammar import parse_both
from service.store_protocol import StoreView
from service.types import Filters, Ids

_MOST_BYTES = 32_000_000
"""For all remembered filters together."""


class AllowedPassages:
    """What `StoreView.allowed` returned for recent filters. Safe to use from many threads.

    Only for one revision of the store: a write makes it forget everything.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._lock = threading.Lock()
        self._revision = -1
        self._kept: LRUCache[str, tuple[Ids, int]] = LRUCache(most_bytes, lambda kept: kept[1])

    def of(self, store: StoreView, filters: Filters) -> Ids:
        """As `store.allowed(filters)`; read-only."""
        key = repr(parse_both(filters))  # tells 1 from 1.0 and from true, which are equal in Python
        revision = store.revision
        with self._lock:
            if revision > self._revision:
                self._revision = revision
                self._kept.clear()
            known = self._kept.get(key) if revision == self._revision else None
        if known is not None:
            return known[0]
        ids = store.allowed(filters)
        ids.setflags(write=False)
        size = ids.nbytes + 4 * len(key) + 200  # the filter too: it may be long and keep nothing
        with self._lock:
            if revision == self._revision and size <= self._kept.maxsize:
                self._kept[key] = ids, size
        return ids
