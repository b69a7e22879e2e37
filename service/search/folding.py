"""Near-duplicates: hits whose passages say nearly the same, folded into the best of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain

import regex

SAME = 0.9
"""Least share of common shingles (Jaccard) of two passages that are folded.

Measured on seven labelled collections: a passage with one word changed or a tenth cut
off shares 0.9 and more. Help pages that differ in a word that matters ("maximum", "minimum") share
0.86, forms that are filled in for different diseases 0.6 to 0.89. Other texts share below 0.3.
"""

SHINGLE = 5
"""Characters in a shingle: letters and digits, so that case, white space and marks do not count."""

MOST_CHARS = 4096
"""Of a passage, from its beginning; a passage that fills a model's window has about 2,000."""

_APART = regex.compile(r"[^\p{L}\p{M}\p{N}]+")


def folded(texts: Sequence[str], same: float = SAME) -> list[int]:
    """For each text the place of the one that it is folded into; its own place where it stays.

    A text is folded into the first earlier one that stays and is nearly the same, so two that stay
    are never nearly the same. A text without letters and digits stays.
    """
    into: list[int] = []
    sizes: dict[int, int] = {}
    having: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        own = _shingles(text)
        common = Counter(chain.from_iterable(having[s] for s in own if s in having))
        near = (
            other
            for other, shared in common.items()
            if shared >= same * (len(own) + sizes[other] - shared)
        )
        into.append(min(near, default=place))
        if into[-1] == place:
            sizes[place] = len(own)
            for shingle in own:
                having[shingle].append(place)
    return into


def _shingles(text: str) -> set[str]:
    plain = _APART.sub(" ", text[:MOST_CHARS].casefold()).strip()
    last = max(1, len(plain) - SHINGLE + 1)
    return {plain[at : at + SHINGLE] for at in range(last)} if plain else set()
