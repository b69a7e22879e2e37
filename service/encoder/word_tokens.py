"""Token ids word by word: texts repeat their words, and some tokenizers see each one alone."""

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

# Unicode's White_Space, by which `WhitespaceSplit` parts words; Python's own class has four more.
_WORD = re.compile(
    "[^\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+"
)

_MOST_WORDS = 100_000
"""Words whose ids are kept, some 20 MB."""


class WordTokens:
    """The ids that a tokenizer gives, each word's kept for the next time: in a fifth of the time.

    Any thread may call it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Take a tokenizer that no longer changes."""
        stated = json.loads(tokenizer.to_str())
        self._normalizer = tokenizer.normalizer
        self._by_word = _parts_at_white_space(stated)
        # What is looked up is normalised already.
        self._tokenizer: Tokenizer = (
            Tokenizer.from_str(json.dumps(stated | {"normalizer": None}))
            if self._by_word
            else tokenizer
        )
        self._known: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens, nothing cut."""
        if not self._by_word:
            return self._encoded(texts)
        split = [_WORD.findall(self._normalised(text)) for text in texts]
        every = {word for words in split for word in words}
        known = self._known
        fresh = [word for word in every if word not in known]
        if len(known) + len(fresh) > _MOST_WORDS:
            known = self._known = {}  # a new one: another thread may still read the one before
            fresh = list(every)
        if fresh:
            known.update(zip(fresh, self._encoded(fresh), strict=True))
        return [list(chain.from_iterable(map(known.__getitem__, words))) for words in split]

    def _normalised(self, text: str) -> str:
        return self._normalizer.normalize_str(text) if self._normalizer else text

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]


def _parts_at_white_space(stated: dict[str, Any]) -> bool:
    """Whether nothing that the tokenizer does reaches from one word to the next.

    Added tokens are looked for in the whole text, before all else.
    """
    parts = stated.get("pre_tokenizer") or {}
    first = parts["pretokenizers"][0] if parts.get("pretokenizers") else parts
    later = (stated.get("post_processor"), stated.get("truncation"), stated.get("padding"))
    splits = first.get("type") == "WhitespaceSplit"
    return splits and not stated.get("added_tokens") and not any(later)
