"""Token ids of (query, passage) pairs: each text is tokenised once, and pairs are put together."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.reranker.best_window import best_window

Tokens = NDArray[np.int32]
"""Token ids of a text alone, int32, shape (n,): no special ones, nothing cut."""

_KEPT = "<i4"
"""Of an id that is kept."""

_ENTRY_BYTES = 250
"""What Python takes for a remembered text beside its ids, about."""

_PROBES = (
    ("tides", "The moon pulls the sea."),
    ("", "nothing was asked"),
    ("Đạo hàm của x² là gì?", "Đạo hàm của x² là 2x. " * 12),
    ("海はなぜ青いのですか", ""),
)


class TokenPair(NamedTuple):
    """What a model reads of a pair: ids and types, int64, shape (n,), special tokens included.

    `truncated` says whether any of the passage was left out.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens before, between and after the two texts; token types of all five parts."""

    head: list[int]
    middle: list[int]
    tail: list[int]
    types: tuple[int, int, int, int, int]


class PairTokenizer:
    """Puts pairs together as the model's own tokenizer does with truncation `only_second`.

    Texts are remembered up to `cache_bytes`, the least recently used ones dropped. Where the
    tokenizer does not simply put special tokens around two texts, it encodes each pair itself. Not
    for several threads at once.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, cache_bytes: int, window: int) -> None:
        """Take a tokenizer of transformers, which is not used elsewhere from then on.

        A passage of more than `window` tokens is cut to its best `window`; 0 for never.
        """
        self._whole = tokenizer
        own = getattr(tokenizer, "backend_tokenizer", None)
        self._fast = own if isinstance(own, Tokenizer) else None
        self._max_length, self._window = max_length, window
        self._cache: LRUCache[bytes, Tokens] = LRUCache(
            cache_bytes, lambda ids: ids.nbytes + _ENTRY_BYTES
        )
        self._template = _template(tokenizer)
        self._room: int = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        if self._template is not None and not self._is_faithful(self._template):
            self._template = None

    @property
    def room(self) -> int:
        """Tokens of the two texts together that fit beside the special ones."""
        return self._room

    def pack(self, texts: Sequence[str]) -> list[bytes]:
        """Each text's ids as a memory is to keep them."""
        return [ids.astype(_KEPT).tobytes() for ids in self._encode(texts)]

    def tokens(
        self, texts: Sequence[str], stored: Mapping[str, bytes] = MappingProxyType({})
    ) -> dict[str, Tokens]:
        """Each text's ids, which are remembered; `stored` has those of some as `pack` gave them."""
        found: dict[str, Tokens] = {}
        fresh: dict[str, Tokens] = {}
        keys = {text: digest(text) for text in texts}
        for text, key in keys.items():
            if (ids := self._cache.get(key)) is not None:
                found[text] = ids
            elif text in stored:
                with suppress(ValueError):  # of no use, and so as good as missing
                    fresh[text] = np.frombuffer(stored[text], _KEPT).astype(np.int32)
        missing = [text for text in keys if text not in found and text not in fresh]
        fresh |= zip(missing, self._encode(missing), strict=True)
        for text, ids in fresh.items():
            with suppress(ValueError):  # larger than the whole cache
                self._cache[keys[text]] = ids
        return found | fresh

    def pair(self, query: str, passage: str, tokens: dict[str, Tokens]) -> TokenPair:
        """The pair of two texts whose ids `tokens` holds; the query is never cut."""
        asked, told = tokens[query], tokens[passage]
        truncated = len(asked) + len(told) > self._room
        if self._template is None:
            return self._encode_pair(query, passage, truncated)
        if self._window and len(told) > self._window:
            told, truncated = best_window(asked, told, self._window), True
        return self._join(self._template, asked, told, truncated)

    def _join(
        self, template: _Template, query: Tokens, passage: Tokens, truncated: bool
    ) -> TokenPair:
        passage = passage[: self._room - len(query)]
        parts = (template.head, query, template.middle, passage, template.tail)
        ids = np.concatenate([np.asarray(part, np.int64) for part in parts])
        types = np.repeat(np.asarray(template.types, np.int64), [len(part) for part in parts])
        return TokenPair(ids, types, truncated)

    def _encode_pair(self, query: str, passage: str, truncated: bool) -> TokenPair:
        """As the tokenizer itself encodes it."""
        # In lists, as sentence-transformers gives them: alone, an empty text would be none.
        encoded = self._whole(
            [query],
            [passage],
            truncation="only_second",
            max_length=self._max_length,
            return_token_type_ids=True,
            verbose=False,
        )
        ids = np.asarray(encoded["input_ids"][0], np.int64)
        return TokenPair(ids, np.asarray(encoded["token_type_ids"][0], np.int64), truncated)

    def _is_faithful(self, template: _Template) -> bool:
        """Whether pairs put together here are the tokenizer's own, cut ones too."""
        texts = [text for probe in _PROBES for text in probe]
        tokens = dict(zip(texts, self._encode(texts), strict=True))
        for query, passage in _PROBES:
            if len(tokens[query]) >= self._room:
                continue
            ours = self._join(template, tokens[query], tokens[passage], truncated=False)
            own = self._encode_pair(query, passage, truncated=False)
            if not (np.array_equal(ours.ids, own.ids) and np.array_equal(ours.types, own.types)):
                return False
        return True

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        if self._fast is not None:
            # Encoding a pair with the outer tokenizer leaves its limits behind.
            self._fast.no_truncation()
            self._fast.no_padding()
            encodings = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
            return [np.asarray(encoding.ids, np.int32) for encoding in encodings]
        encoded = self._whole(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [np.asarray(ids, np.int32) for ids in encoded["input_ids"]]


def digest(text: str) -> bytes:
    """A text's name among those that are remembered: texts themselves would take too much."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _template(tokenizer: Any) -> _Template | None:
    """The tokens around two texts, read from one encoded pair."""
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        return None
    encoded = tokenizer("a", "b", return_token_type_ids=True)
    places, ids, types = encoded.sequence_ids(0), encoded["input_ids"], encoded["token_type_ids"]
    if 0 not in places or 1 not in places:
        return None
    first, second = places.index(0), places.index(1)
    between = first + places.count(0)
    after = second + places.count(1)

    def type_at(place: int, otherwise: int) -> int:
        return int(types[place]) if 0 <= place < len(types) else otherwise

    of_texts = int(types[first]), int(types[second])
    return _Template(
        ids[:first],
        ids[between:second],
        ids[after:],
        (
            type_at(0, of_texts[0]),
            of_texts[0],
            type_at(between, of_texts[0]),
            of_texts[1],
            type_at(after, of_texts[1]),
        ),
    )
