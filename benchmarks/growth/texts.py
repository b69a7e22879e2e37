"""Made texts of any number and length, from real sentences."""

import random
from collections.abc import Iterator, Sequence

from benchmarks.speed.corpus import CountTokens
from benchmarks.speed.prose import pages, sentences

SEED = 11


def every_sentence() -> list[str]:
    """The sentences of all pages, each once, in their order."""
    found = (
        sentence
        for _, paragraphs in pages()
        for paragraph in paragraphs
        for sentence in sentences(paragraph)
    )
    return list(dict.fromkeys(found))


def passages(pool: Sequence[str], number: int, *, fewest: int = 4, most: int = 8) -> Iterator[str]:
    """So many texts of a few neighbouring sentences and one drawn from elsewhere: no two alike."""
    draw = random.Random(SEED)  # noqa: S311 - no secret
    for _ in range(number):
        start, length = draw.randrange(len(pool) - most), draw.randint(fewest, most)
        yield " ".join([*pool[start : start + length - 1], draw.choice(pool)])


def of_length(pool: Sequence[str], number: int, tokens: int, count: CountTokens) -> list[str]:
    """Texts of whole words with `tokens` tokens, or one or two less."""
    made = list(passages(pool, number, fewest=8, most=12))
    return [
        _cut(f"{text} {made[i - 1]} {made[i - 2]}", tokens, count) for i, text in enumerate(made)
    ]


def _cut(text: str, tokens: int, count: CountTokens) -> str:
    words = text.split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if count([" ".join(words[:middle])])[0] <= tokens:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])
