"""Answers of earlier searches, for queries that mean the same according to the pair model.

An answer is served again only within its time to live, while the index is unchanged, and if only
the wording of the query differs. All other fields of the request, the query's language and its
numbers must be equal: no pair model tells `x^2` from `x^3` as surely as a reader does, and the
language decides on the rerank.
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

MOST_BYTES = 1 << 28
"""About the most that all answers take together, texts and metadata in UTF-8."""

# With signs, superscripts and fractions: a wrong answer is worse than a missed one.
_NUMBERS = regex.compile(r"[-\u2212]?\p{N}+")
_SLACK = 1e-4
"""A float32 matrix product may be off by this; what passes is measured exactly."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the cache gave. With `key` None the answer cannot be kept either.

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
    bytes: int


class AnswerCache:
    """The last `size` answers, each for at most `ttl_s` seconds. From one event loop.

    The oldest go where all have more than `MOST_BYTES`. `version` names the state of the index; all
    answers are dropped once it changes. `clock` gives seconds.
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

        `text` is the normalised query. If the pair model fails or takes half of the time that is
        left, or if the query is longer than its window, the search goes on without the cache.
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
        """Keep a new answer if it would hold for a paraphrase as well.

        That is: the index has not changed since the look-up, the rerank did neither fail nor run
        out of time, and neither a warning nor a skipped rerank is about this wording alone.
        """
        if lookup.key is None or lookup.vector is None or lookup.version != self._refresh():
            return
        about_wording = result.warnings or result.rerank.reason == QUERY_FILLS_WINDOW
        if about_wording or result.rerank.status not in ("complete", "skipped"):
            return
        size = len(repr([*result.hits, *(result.facets or {}).items()]).encode())
        if size > MOST_BYTES:
            return
        row, self._next_row = self._next_row, (self._next_row + 1) % self._size
        self._entries.pop(row, None)  # so that the new one is last
        self._vectors[row] = lookup.vector
        # The earlier query's text is private to its caller.
        self._entries[row] = _Entry(lookup.key, self._clock(), replace(result, query=""), size)
        kept = sum(entry.bytes for entry in self._entries.values())
        while kept > MOST_BYTES:
            kept -= self._entries.pop(next(iter(self._entries))).bytes

    def _refresh(self) -> str:
        """Drop outdated answers; returns the index's version."""
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
        # Ties go to the oldest, which is the first.
        similarity, row = max(near, key=lambda measured: measured[0])
        if similarity < self.pair_model.threshold:
            return None
        entry = self._entries[row]
        age_ms = round((self._clock() - entry.kept_at) * 1000)
        return replace(entry.result, cached=CachedFrom(similarity, age_ms))


def _key(query: Query, text: str) -> bytes:
    """A hash of what must be equal: filters may be as long as a whole request."""
    code, probability = language.identify(text)
    fields = {
        **asdict(query),
        "query": _NUMBERS.findall(text),
        "language": code if probability >= language.SURE else language.UNDETERMINED,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()
