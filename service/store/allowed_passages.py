"""The passages that filters keep, remembered for as long as nothing is written.

Where a filter keeps many of a million passages, reading their ids takes longer than the search.
"""

import threading

from service.store.filter_grammar import parse
from service.store.store_view import StoreView
from service.types import Filters, Ids

_MOST_IDS = 4_000_000
"""Of all remembered filters together: 32 MB."""


class AllowedPassages:
    """What `StoreView.allowed` said of the filters asked for last. Safe to use from many threads.

    Only ever of one revision of the store: a write makes it forget everything.
    """

    def __init__(self, most_ids: int = _MOST_IDS) -> None:
        self._most_ids = most_ids
        self._lock = threading.Lock()
        self._revision = -1
        self._ids: dict[str, Ids] = {}
        """By the filter as it was understood, the one used last at the end."""

    def of(self, store: StoreView, filters: Filters) -> Ids:
        """As `store.allowed(filters)`; never to be written to."""
        key = repr(parse(filters))  # tells 1 from 1.0 and from true, which are equal in Python
        revision = store.revision
        with self._lock:
            if revision > self._revision:
                self._revision = revision
                self._ids.clear()
            known = self._ids.pop(key, None) if revision == self._revision else None
            if known is not None:
                self._ids[key] = known
                return known
        ids = store.allowed(filters)
        ids.setflags(write=False)
        with self._lock:
            if revision == self._revision:
                self._keep(key, ids)
        return ids

    def _keep(self, key: str, ids: Ids) -> None:
        self._ids[key] = ids
        while sum(map(len, self._ids.values())) > self._most_ids:
            del self._ids[next(iter(self._ids))]
