"""Cut long texts into overlapping passages on sentence and paragraph borders.

Whatever cuts any text elsewhere needs a new `CHUNKER_VERSION`, also in `borders`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import ceil

from service.text import borders
from service.types import Span

CHUNKER_VERSION = 1

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Tokens of each text alone: no prefix, no special tokens, nothing cut."""

# A stretch without any border is cut into this many pieces for each passage.
_PIECES_PER_PASSAGE = 16


def chunk(text: str, *, budget: int, overlap: int, count_tokens: TokenCounter) -> list[Span]:
    """The passages of a text, in code points of the text as given.

    A text of at most `budget` tokens is one passage; an empty one has none. A longer text is
    packed greedily from whole sentences; a sentence over the budget is cut at its lines, else at
    spaces and commas, else between grapheme clusters. Neighbours share as many whole pieces as
    `overlap` tokens hold, and a short last passage reaches back further.

    Every character but white space is in some passage. Starts and ends rise strictly, and no
    passage begins or ends with white space. Each has at most `budget` tokens, as `count_tokens`
    counts its own text, unless it is a single grapheme cluster.

    Raises `ValueError` unless 0 <= overlap < budget.
    """
    if not 0 <= overlap < budget:
        raise ValueError(f"overlap must be from 0 to below the budget, got {overlap} and {budget}")
    whole = _trim(text, Span(0, len(text)))
    if whole.start == whole.end:
        return []
    tokens = _count(text, [whole], count_tokens)
    if tokens[0] <= budget:
        return [whole]
    pieces, counts = _cut(text, whole, tokens[0], budget, count_tokens)
    return _pack(text, pieces, counts, budget, overlap, count_tokens)


def _trim(text: str, span: Span) -> Span:
    piece = text[span.start : span.end]
    start = span.end - len(piece.lstrip())
    return Span(start, max(start, span.start + len(piece.rstrip())))


def _count(text: str, spans: Sequence[Span], count_tokens: TokenCounter) -> list[int]:
    return count_tokens([text[start:end] for start, end in spans]) if spans else []


def _cut(
    text: str, whole: Span, tokens: int, budget: int, count_tokens: TokenCounter
) -> tuple[list[Span], list[int]]:
    """Trimmed pieces in order, each within the budget or a single grapheme, and their tokens."""
    pieces, counts = [whole], [tokens]
    for split in (borders.sentences, borders.lines, borders.words):
        pieces, counts = _cut_again(text, pieces, counts, budget, count_tokens, split)
    grain = max(1, budget // _PIECES_PER_PASSAGE)
    split = partial(borders.even_parts, grain=grain)
    before = 0
    while len(pieces) != before:
        before = len(pieces)
        pieces, counts = _cut_again(text, pieces, counts, budget, count_tokens, split)
    return pieces, counts


def _cut_again(
    text: str,
    pieces: list[Span],
    counts: list[int],
    budget: int,
    count_tokens: TokenCounter,
    split: borders.Splitter,
) -> tuple[list[Span], list[int]]:
    """Split the pieces over the budget; the rest keep their counts. Counts all new ones at once."""
    parts: list[tuple[list[Span], int]] = []
    for piece, count in zip(pieces, counts, strict=True):
        if count <= budget:
            parts.append(([piece], count))
            continue
        cuts = split(text[piece.start : piece.end], count)
        spans = (_trim(text, Span(piece.start + a, piece.start + b)) for a, b in cuts)
        parts.append(([span for span in spans if span.start < span.end], count))
    fresh = [span for spans, _ in parts if len(spans) > 1 for span in spans]
    fresh_counts = iter(_count(text, fresh, count_tokens))
    new_counts = [
        count if len(spans) == 1 else next(fresh_counts) for spans, count in parts for _ in spans
    ]
    return [span for spans, _ in parts for span in spans], new_counts


def _pack(
    text: str,
    pieces: list[Span],
    counts: list[int],
    budget: int,
    overlap: int,
    count_tokens: TokenCounter,
) -> list[Span]:
    """Plan by the sum of the pieces' tokens, then count the passages that come of it.

    The tokens of a whole can be more than those of its parts. Where they go over the budget, the
    parts are rated higher and the plan is made again, ever more strictly, so that the number of
    rounds is at most about log2(budget).
    """
    ratings = [min(count, budget) for count in counts]
    strictness = 1
    while True:
        windows = _plan(ratings, budget, overlap)
        spans = [Span(pieces[first].start, pieces[end - 1].end) for first, end in windows]
        over = [
            (first, end, tokens)
            for (first, end), tokens in zip(windows, _count(text, spans, count_tokens), strict=True)
            if tokens > budget and end - first > 1
        ]
        if not over:
            return spans
        for first, end, tokens in over:
            rated = [max(1, rating) for rating in ratings[first:end]]
            factor = strictness * max(1.0, tokens / sum(rated))
            ratings[first:end] = [min(budget, ceil(rating * factor)) for rating in rated]
        strictness *= 2


def _plan(ratings: list[int], budget: int, overlap: int) -> list[tuple[int, int]]:
    """Greedy windows `pieces[first:end]`; both rise strictly, as no rating is over budget."""
    total = [0, *accumulate(ratings)]
    first, windows = 0, []
    while True:
        end = bisect_right(total, total[first] + budget) - 1
        windows.append((first, end))
        if end == len(ratings):
            break
        # Overlap leaves room for at least one new piece.
        shared = min(overlap, budget - ratings[end])
        first = bisect_left(total, total[end] - shared)
    if len(windows) > 1 and total[-1] - total[first] < budget // 4:
        further_back = bisect_left(total, total[-1] - budget // 2)
        windows[-1] = (min(first, max(windows[-2][0] + 1, further_back)), len(ratings))
    return windows
