"""Passages that searches found lately, so that popular ones are not read and parsed each time."""

import threading
from collections.abc import Iterable

from cachetools import LRUCache

from service.types import StoredPassage

_MOST_CHARS = 8 << 20
_CHARS_AROUND = 500
"""What a passage's record counts beside its text."""

Key = tuple[int, int]
"""A passage's id and its document's version, which changes with the metadata. Neither is ever given
again, so what is kept under it holds for every view of the store."""


class PassageCache:
    """The passages that were used last, up to a size. Safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: LRUCache[Key, StoredPassage] = LRUCache(_MOST_CHARS, _size)
        self._lock = threading.Lock()

    def get(self, keys: Iterable[Key]) -> dict[int, StoredPassage]:
        """Those that are kept, by passage id."""
        with self._lock:
            return {key[0]: found for key in keys if (found := self._kept.get(key)) is not None}

    def put(self, passages: Iterable[tuple[Key, StoredPassage]]) -> None:
        """Keep these."""
        with self._lock:
            for key, passage in passages:
                if _size(passage) <= _MOST_CHARS:
                    self._kept[key] = passage


def _size(passage: StoredPassage) -> int:
    metadata = sum(len(name) + len(str(value)) for name, value in passage.metadata.items())
    return _CHARS_AROUND + len(passage.title) + len(passage.text) + metadata
