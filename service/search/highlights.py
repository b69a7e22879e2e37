"""Which parts of a hit answer the query, and where the query's words are in it."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.search.relevant_spans import ends_in
from service.text.chunker import chunk, sentences
from service.types import Span, TokenMatches
from service.words import PlacedWord, placed_words

MOST_WORDS = 50
"""Words that are marked in a hit; the first ones count."""

PART_BYTES = 360
"""Of a part, in UTF-8: about 90 tokens of English, 120 characters of Chinese. One sentence alone
holds the answer less often, as the one before it names what both are about."""

_COUNTS = 0.25
"""A query word counts if a token of it has this share of the greatest token's points."""

Matrix = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Highlight:
    """A piece of a hit's text, `text[start:end]` in code points.

    A `part`, a sentence or some that follow each other, is likely to hold the answer; a `word` is
    in the query.
    """

    start: int
    end: int
    kind: Literal["part", "word"]


def highlights(
    query: str, text: str, read: str, matches: TokenMatches | None, most: int
) -> tuple[Highlight, ...]:
    """At most `most` parts, the likeliest first, then the query's words in their order.

    `read` is the text that the reranker read with these `matches`. Without matches the words
    decide, and a word counts less if more sentences have it.
    """
    asked = _asked(query, matches)
    words = [word for word in placed_words(text) if word.word in asked]
    found = _sentences(text)
    fit = _by_tokens(text, read, found, matches) if matches else _by_words(found, words)
    parts = _best_parts(text, found, fit, most)
    return (
        *(Highlight(*part, "part") for part in parts),
        *(Highlight(*span, "word") for span in _joined(words)[:MOST_WORDS]),
    )


def _asked(query: str, matches: TokenMatches | None) -> set[str]:
    """The query's words; with matches only those that tell something."""
    words = placed_words(query)
    if matches is None or not len(matches.points):
        return {word.word for word in words}
    least = _COUNTS * float(matches.points.max())
    points = zip(matches.query, matches.points.tolist(), strict=True)
    telling = [span for span, value in points if value >= least]
    return {
        word.word
        for word in words
        if any(span.start < word.end and word.start < span.end for span in telling)
    }


def _sentences(text: str) -> list[Span]:
    """The sentences of a text, long ones cut; together they have all but white space."""
    return [
        Span(start + piece.start, start + piece.end)
        for start, end in sentences(text, 0)
        for piece in chunk(text[start:end], budget=PART_BYTES, overlap=0, count_tokens=_bytes)
    ]


def _bytes(texts: Sequence[str]) -> list[int]:
    return [len(text.encode()) for text in texts]


def _by_tokens(text: str, read: str, found: Sequence[Span], matches: TokenMatches) -> Matrix:
    """What each query token adds in each sentence: (query tokens, sentences)."""
    last = [span.end for span in matches.passage]
    borders = [bisect_right(last, end) for end in accumulate((0, *ends_in(text, read, found)), max)]
    fit = np.zeros((len(matches.points), len(found)), np.float32)
    for place, (first, end) in enumerate(pairwise(borders)):
        if first < end:
            fit[:, place] = matches.points * matches.similar[:, first:end].max(axis=1)
    return fit


def _by_words(found: Sequence[Span], words: Sequence[PlacedWord]) -> Matrix:
    """The same by words: how rare a word is among the sentences, where they have it."""
    having = [{w.word for w in words if span.start <= w.start < span.end} for span in found]
    counts = Counter(word for some in having for word in some)
    rows = [
        [log(1 + len(found) / count) if word in some else 0.0 for some in having]
        for word, count in sorted(counts.items())
    ]
    return np.array(rows, np.float32).reshape(len(rows), len(found))


def _best_parts(text: str, found: Sequence[Span], fit: Matrix, most: int) -> list[Span]:
    """Runs of sentences that do not overlap, the best first: a token counts by its best match."""
    sizes = _bytes([text[span.start : span.end] for span in found])
    if not found:
        return []
    parts = zip(*_runs(sizes, fit), strict=True)
    scores, lengths, firsts = (np.concatenate(part) for part in parts)
    left = np.lexsort((firsts, lengths, -scores))
    chosen: list[tuple[int, int]] = []
    while left.size and len(chosen) < most:
        first = int(firsts[left[0]])
        end = first + int(lengths[left[0]])
        chosen.append((first, end))
        left = left[(firsts[left] >= end) | (firsts[left] + lengths[left] <= first)]
    return [Span(found[first].start, found[end - 1].end) for first, end in chosen]


def _runs(sizes: Sequence[int], fit: Matrix) -> Iterator[tuple[Matrix, Places, Places]]:
    """Scores, lengths and first sentences of all runs of sentences, by their first ones.

    A run has at most `PART_BYTES` or is a single sentence.
    """
    totals = [0, *accumulate(sizes)]
    for first in range(len(sizes)):
        end = max(first + 1, bisect_right(totals, totals[first] + PART_BYTES) - 1)
        best = np.maximum.accumulate(fit[:, first:end], axis=1)
        # As rows, each is summed as it would be alone.
        scores = np.ascontiguousarray(best.T).sum(axis=1)
        yield scores, np.arange(1, end - first + 1), np.full(end - first, first)


def _joined(words: Sequence[PlacedWord]) -> list[Span]:
    """Where the words are; what overlaps, as pairs of Chinese characters do, is one place."""
    spans: list[Span] = []
    for _, start, end in words:
        if spans and start < spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(end, spans[-1].end))
        else:
            spans.append(Span(start, end))
    return spans
