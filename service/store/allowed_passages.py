"""The passages that filters keep, remembered for as long as nothing is written.

Where a filter keeps many of a million passages, reading their ids takes longer than the search.
"""

import threading

from cachetools import LRUCache

from service.protocols import StoreView
from service.store.filter_grammar import parse
from service.types import Filters, Ids

_MOST_IDS = 4_000_000
"""For all remembered filters together: 32 MB."""


class AllowedPassages:
    """What `StoreView.allowed` returned for recent filters. Safe to use from many threads.

    Only for one revision of the store: a write makes it forget everything.
    """

    def __init__(self, most_ids: int = _MOST_IDS) -> None:
        self._lock = threading.Lock()
        self._revision = -1
        self._ids: LRUCache[str, Ids] = LRUCache(most_ids, getsizeof=len)

    def of(self, store: StoreView, filters: Filters) -> Ids:
        """As `store.allowed(filters)`; read-only."""
        key = repr(parse(filters))  # tells 1 from 1.0 and from true, which are equal in Python
        revision = store.revision
        with self._lock:
            if revision > self._revision:
                self._revision = revision
                self._ids.clear()
            known = self._ids.get(key) if revision == self._revision else None
        if known is not None:
            return known
        ids = store.allowed(filters)
        ids.setflags(write=False)
        with self._lock:
            if revision == self._revision and len(ids) <= self._ids.maxsize:
                self._ids[key] = ids
        return ids
