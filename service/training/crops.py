"""Passages cut to some of their sentences, so that a model learns from texts of every length."""

import random
from collections.abc import Sequence

from service.text.chunker import TokenCounter, sentences
from service.words import tokenize

_SHORTEST = 8
"""Tokens; a crop keeps one sentence at least, however long."""


def crop_alike(
    query: str,
    passages: Sequence[str],
    rng: random.Random,
    count_tokens: TokenCounter,
    *,
    longest: int,
) -> list[str]:
    """Each passage as neighbouring sentences of at most a drawn number of tokens, one for all.

    The number is drawn from 8 to `longest`, small ones as often as large ones (log-uniform). A crop
    is around the sentence with most of the query's words, where the answer mostly is; that
    holds for right and wrong passages alike, so neither length nor place tells them apart.
    """
    budget = round(_SHORTEST * (longest / _SHORTEST) ** rng.random())
    words = set(tokenize(query))
    return [_crop(text, words, budget, rng, count_tokens) for text in passages]


def _crop(
    text: str, words: set[str], budget: int, rng: random.Random, count_tokens: TokenCounter
) -> str:
    spans = list(sentences(text, 0))
    if len(spans) < 2:
        return text
    counts = count_tokens([text[start:end] for start, end in spans])
    shared = [len(words.intersection(tokenize(text[start:end]))) for start, end in spans]
    best = max(shared)
    first = last = rng.choice([i for i, count in enumerate(shared) if count == best])
    left = budget - counts[first]
    while True:
        fits = [i for i in (first - 1, last + 1) if 0 <= i < len(spans) and counts[i] <= left]
        if not fits:
            return text[spans[first][0] : spans[last][1]].strip()
        taken = rng.choice(fits)
        left -= counts[taken]
        first, last = min(first, taken), max(last, taken)
