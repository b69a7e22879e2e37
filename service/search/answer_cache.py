"""Answers of earlier searches, for queries that the pair model takes to mean the same.

An answer is served again only while the index is what it was, within its time to live, and where
nothing but the wording of the query differs: all other fields of the request, the language of the
query and the numbers in it must be equal. Numbers because no pair model tells `x^2` from `x^3` as
surely as a reader does; the language because it decides on the rerank.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import regex

from service.errors import DeadlineError, ModelError
from service.scheduling.gate import Deadline
from service.search.pair_model import PairModel, cosine
from service.search.query import QUERY_FILLS_WINDOW, CachedFrom, Query, Result
from service.text import language
from service.types import Vectors

log = logging.getLogger(__name__)

# With signs, superscripts and fractions; an answer is withheld too often rather than too rarely.
_NUMBERS = regex.compile(r"[-\u2212]?\p{N}+")
_SLACK = 1e-4
"""A float32 matrix product may be off by this; what passes is measured again."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What became of asking the cache. `key` is None where the search cannot be kept either.

    `found` has no query, no warnings and the earlier search's timings.
    """

    key: bytes | None = None
    vector: Vectors | None = None
    version: str = ""
    found: Result | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    key: bytes
    kept_at: float
    result: Result


class AnswerCache:
    """The last `size` answers, each for at most `ttl_s` seconds. From one event loop.

    `version` names what searches see of the index; once it gives another name all answers are
    dropped. `clock` gives seconds.
    """

    def __init__(
        self,
        pair_model: PairModel,
        *,
        size: int,
        ttl_s: float,
        version: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pair_model = pair_model
        self._size, self._ttl_s, self._version, self._clock = size, ttl_s, version, clock
        self._vectors = np.zeros((size, pair_model.encoder.identity.dimension), np.float32)
        self._entries: dict[int, _Entry] = {}
        """By row of `_vectors`, oldest first."""
        self._next_row = 0
        self._entries_version = ""

    def __len__(self) -> int:
        return len(self._entries)

    async def look_up(self, query: Query, text: str, deadline: Deadline) -> Lookup:
        """The answer to the nearest earlier query that means the same as `text`, if there is one.

        `text` is the normalised query. A pair model that fails, or takes half of the time that is
        left, costs the look-up and not the search. So does a query longer than its window.
        """
        try:
            encoded = await self.pair_model.encode(text, Deadline(deadline.left() / 2))
        except (ModelError, DeadlineError) as error:
            log.warning("the answer cache was left out: %s", error)
            return Lookup()
        if encoded.truncated:
            return Lookup()
        key = _key(query, text)
        version = self._refresh()
        return Lookup(key, encoded.vector, version, self._nearest(key, encoded.vector))

    def keep(self, lookup: Lookup, result: Result) -> None:
        """Keep the answer that had to be made, where it would hold for a paraphrase as well.

        That is: the index is still what it was at the look-up, the rerank did neither fail nor run
        out of time, and neither a warning nor a skipped rerank is about this wording alone.
        """
        if lookup.key is None or lookup.vector is None or lookup.version != self._refresh():
            return
        about_wording = result.warnings or result.rerank.reason == QUERY_FILLS_WINDOW
        if about_wording or result.rerank.status not in ("complete", "skipped"):
            return
        row, self._next_row = self._next_row, (self._next_row + 1) % self._size
        self._entries.pop(row, None)  # so that the new one is last
        self._vectors[row] = lookup.vector
        # The earlier query's text is private to its caller.
        self._entries[row] = _Entry(lookup.key, self._clock(), replace(result, query=""))

    def _refresh(self) -> str:
        """Drop what holds no longer; returns the index's version."""
        version = self._version()
        if version != self._entries_version:
            self._entries.clear()
            self._entries_version = version
        oldest_allowed = self._clock() - self._ttl_s
        while self._entries:
            row, entry = next(iter(self._entries.items()))
            if entry.kept_at > oldest_allowed:
                break
            del self._entries[row]
        return version

    def _nearest(self, key: bytes, vector: Vectors) -> Result | None:
        products = self._vectors @ vector
        rows = [row for row, entry in self._entries.items() if entry.key == key]
        if not rows:
            return None
        best = products[rows].max() - _SLACK
        near = [(cosine(self._vectors[row], vector), row) for row in rows if products[row] >= best]
        # The first of equals is the oldest.
        similarity, row = max(near, key=lambda measured: measured[0])
        if similarity < self.pair_model.threshold:
            return None
        entry = self._entries[row]
        age_ms = round((self._clock() - entry.kept_at) * 1000)
        return replace(entry.result, cached=CachedFrom(similarity, age_ms))


def _key(query: Query, text: str) -> bytes:
    """What must be equal, as a hash: filters may be as long as a whole request."""
    code, probability = language.identify(text)
    fields = {
        **asdict(query),
        "query": _NUMBERS.findall(text),
        "language": code if probability >= language.SURE else language.UNDETERMINED,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()
