"""Frozen answers: the pages of one search, whatever is written meanwhile.

A window has what one search found, in its order. A cursor names a window and a place in it. Pages
are cut from the window, so none repeats or loses a hit. Texts are not kept: each page reads them
again and leaves out what is gone.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from service.errors import CursorExpiredError, InvalidInputError
from service.search.arrangement import Place, frozen, renewed
from service.search.query import Query, Result
from service.search.retriever import Found
from service.types import StoredPassage

MOST_BYTES = 64 << 20
"""About the most that all windows of the process take together; one owner may have a quarter."""

MOST_WINDOWS = 64
"""Of one owner; the oldest goes."""

AGE_S = 600
"""A window is kept for this long, in seconds."""

_TOKEN_BYTES, _PLACE_BYTES = 16, 2
CURSOR_CHARS = 4 * (_TOKEN_BYTES + _PLACE_BYTES) // 3

_ROW_BYTES = 1024
"""About what a row takes, without the strings that are counted."""

_ANY_PAGE = frozenset({"top_k", "timeout_ms", "offset", "cursor", "owner", "highlights", "explain"})
"""Fields that may differ between the pages of one search."""


@dataclass(frozen=True, slots=True)
class Window:
    """All places of one search's answer, without texts; `rest` is what is left of it, without hits.

    `owner` names the client and what its key may see, `source` the collections, `asked` the fields
    of the request: a cursor is good for the same three only.
    """

    owner: str
    source: str
    asked: bytes
    places: Sequence[Place]
    rest: Result


class Page(NamedTuple):
    """The part of a window that a request asks for: `top_k` places from `start` on."""

    window: Window
    token: bytes
    start: int
    end: int

    @property
    def candidates(self) -> list[Found]:
        """Whose passages are to be read again, also those of folded hits."""
        places = self.window.places[self.start : self.end]
        return [row.ranked.candidate for place in places for row in place.rows]

    def answer(self, query: Query, current: Sequence[StoredPassage | None]) -> Result:
        """The page, with the passages of `candidates` as they are now; None where one is gone."""
        places, gone = renewed(self.window.places[self.start : self.end], current)
        told = f"hits left out of this page, as their documents were changed or deleted: {gone}"
        is_last = self.end >= len(self.window.places)
        return replace(
            self.window.rest,
            hits=[place.hit(query) for place in places],
            warnings=[*self.window.rest.warnings, *([told] if gone else [])],
            next_cursor=None if is_last else _cursor(self.token, self.end),
        )


class _Kept(NamedTuple):
    window: Window
    made: float
    bytes: int


class Windows:
    """The windows of all clients, bounded by bytes, by number and by age. From one event loop."""

    def __init__(
        self,
        *,
        most_bytes: int = MOST_BYTES,
        most_windows: int = MOST_WINDOWS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_bytes, self._most_windows, self._clock = most_bytes, most_windows, clock
        self._kept: dict[bytes, _Kept] = {}
        """Oldest first."""

    def __len__(self) -> int:
        return len(self._kept)

    def first_page(
        self, query: Query, source: str, places: Sequence[Place], rest: Result
    ) -> Result:
        """The hits that the query asks for, with `rest`, which has none yet.

        With an `offset`, all places are kept for the next pages; older windows go where there is no
        room.
        """
        start = query.offset or 0
        end = start + query.top_k
        page = replace(rest, hits=[place.hit(query) for place in places[start:end]])
        if query.offset is None or end >= len(places):
            return page
        return replace(page, next_cursor=self._keep(query, source, places, rest, end))

    def _keep(
        self, query: Query, source: str, places: Sequence[Place], rest: Result, end: int
    ) -> str:
        self._drop_old()
        kept = [frozen(place) for place in places]
        window = Window(query.owner, source, _asked(query), kept, rest)
        token = secrets.token_bytes(_TOKEN_BYTES)
        self._kept[token] = _Kept(window, self._clock(), _bytes(window))
        own = [t for t, kept in self._kept.items() if kept.window.owner == window.owner]
        self._make_room(own, self._most_bytes // 4, self._most_windows)
        self._make_room(list(self._kept), self._most_bytes, len(self._kept))
        return _cursor(token, end)

    def find(self, cursor: str, query: Query, source: str) -> Page:
        """The page that a cursor names.

        Raises `CursorExpiredError` if none is kept for this client and these collections, and
        `InvalidInputError` if the request differs from the one that made it.
        """
        self._drop_old()
        token, start = _parts(cursor)
        kept = self._kept.get(token)
        if kept is None or (kept.window.owner, kept.window.source) != (query.owner, source):
            raise CursorExpiredError(
                f"no pages are kept for this cursor here; they are kept for {AGE_S} s, and while "
                "there is room. Search again with offset"
            )
        if kept.window.asked != _asked(query):
            raise InvalidInputError(
                "cursor belongs to another request: all fields that decide the hits must be the "
                "same",
                "cursor",
            )
        return Page(kept.window, token, start, start + query.top_k)

    def _drop_old(self) -> None:
        oldest = self._clock() - AGE_S
        while self._kept and next(iter(self._kept.values())).made <= oldest:
            del self._kept[next(iter(self._kept))]

    def _make_room(self, tokens: list[bytes], most_bytes: int, most: int) -> None:
        """Drop the oldest of these until the others fit; the newest stays."""
        taken = sum(self._kept[token].bytes for token in tokens)
        while len(tokens) > max(1, most) or (taken > most_bytes and len(tokens) > 1):
            taken -= self._kept.pop(tokens.pop(0)).bytes


WINDOWS = Windows()
"""Those of the process."""


def _asked(query: Query) -> bytes:
    """A hash of the fields that all pages of one search have in common."""
    fields = {name: value for name, value in asdict(query).items() if name not in _ANY_PAGE}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()


def _bytes(window: Window) -> int:
    """About what it takes."""
    rows = [row.ranked.candidate.passage for place in window.places for row in place.rows]
    counted = [one.value for facet in (window.rest.facets or {}).values() for one in facet.values]
    values = sum(len(str(value)) for value in [*counted, *(place.value for place in window.places)])
    ids = sum(len(row.document_id) for row in rows)
    return _ROW_BYTES * (1 + len(rows) + len(counted)) + 4 * (values + ids)


def _cursor(token: bytes, place: int) -> str:
    return base64.urlsafe_b64encode(token + place.to_bytes(_PLACE_BYTES, "big")).decode()


def _parts(cursor: str) -> tuple[bytes, int]:
    try:
        whole = base64.urlsafe_b64decode(cursor)
    except ValueError:
        whole = b""
    return whole[:_TOKEN_BYTES], int.from_bytes(whole[_TOKEN_BYTES:], "big")
