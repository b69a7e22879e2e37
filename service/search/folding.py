"""Near-duplicates: hits whose passages say nearly the same, folded into the best of them."""

from collections.abc import Sequence

import numpy as np
import regex
from numpy.typing import NDArray

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

_FACTORS = np.array([0x9E3779B97F4A7C15 * odd % 2**64 for odd in (1, 7, 77, 777, 7777)], np.uint64)
"""A shingle is kept as 64 bits: the sum of its code points, each with its factor."""

_COUNTERS = 1024

_APART = regex.compile(r"[^\p{L}\p{M}\p{N}]+")


def folded(texts: Sequence[str], same: float = SAME) -> list[int]:
    """For each text the place of the one that it is folded into; its own place where it stays.

    A text is folded into the first earlier one that stays and is nearly the same, so two that stay
    are never nearly the same. A text without letters and digits stays.
    """
    into: list[int] = []
    stays: list[int] = []
    kept: list[NDArray[np.uint64]] = []
    counts = np.zeros((len(texts), _COUNTERS), np.int16)
    for place, text in enumerate(texts):
        own = _shingles(text)
        count = np.bincount(own % _COUNTERS, minlength=_COUNTERS).astype(np.int16)
        # Counters differ by no more than the texts do: most pairs need no other look.
        apart = np.abs(counts[: len(kept)] - count).sum(axis=1)
        sizes = len(own) + np.fromiter(map(len, kept), np.int64, len(kept))
        likely = np.flatnonzero((1 + same) * apart <= (1 - same) * sizes + 1e-6)
        near = (at for at in likely.tolist() if len(own) and _share(own, kept[at]) >= same)
        if (at := next(near, None)) is not None:
            into.append(stays[at])
            continue
        counts[len(kept)] = count
        kept.append(own)
        stays.append(place)
        into.append(place)
    return into


def _share(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    common = np.intersect1d(one, other, assume_unique=True).size
    return float(common / (one.size + other.size - common))


def _shingles(text: str) -> NDArray[np.uint64]:
    """Each once, in order; a text that is shorter than one is one."""
    plain = _APART.sub(" ", text[:MOST_CHARS].casefold()).strip()
    if not plain:
        return np.zeros(0, np.uint64)
    codes = np.frombuffer(plain.ljust(SHINGLE, "\0").encode("utf-32-le"), np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.uint64), SHINGLE)
    return np.unique(windows @ _FACTORS)
