"""Cut long texts into overlapping passages on sentence and paragraph borders.

Whatever cuts any text elsewhere needs a new `CHUNKER_VERSION`.

Sentences follow UAX #29 (Unicode Text Segmentation) in one pass of a regular expression. It is
stricter where the default rules cut too often: after initials, titles and list numbers, and at
marks with no space behind them. Libraries that apply the rules one character at a time take more
than a second per 25,000 characters, and quadratic time in a run of spaces.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from math import ceil

import regex

from service.types import Span

CHUNKER_VERSION = 1

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Tokens of each text alone: no prefix, no special tokens, nothing cut."""

# A stretch without any border is cut into this many pieces for each passage.
_PIECES_PER_PASSAGE = 16

# Nothing is cut before these: they belong to the grapheme cluster that began earlier.
_NO_TAIL = r"(?![\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}])"
_RUN = r"[\p{SB=STerm}\p{SB=ATerm}\p{Pe}\p{Pf}\"'\p{M}\p{Cf}]*+"
_LOWER_NEXT = r"[^\p{L}\s]{0,4}+\p{Ll}"
# A full stop behind an initial, an abbreviation or the number of a list's line ends no sentence.
_NO_SENTENCE_BEFORE = (
    r"(?<!\b(?:\p{Lu}|Mr|Mrs|Ms|Dr|Prof|St|Fig|No|vs|e\.g|i\.e|cf))"
    r"(?<!^[^\S\n]{0,8}\p{Nd}{1,3})"
)

# What was said in brackets or quotes goes on: 「はい。」と言った.
_NO_QUOTED = r"(?!(?<=[\p{Pe}\p{Pf}])\p{Hiragana})"
_CJK_NEXT = r"(?=[\p{Han}\p{Hiragana}\p{Katakana}])"

# Only a match with the group `cut` ends a sentence. Other matches consume a run of marks that ends
# none, so that no character of it is tried as a beginning again.
_SENTENCE_END = regex.compile(
    rf"""
      [\p{{SB=STerm}}--[!?]] {_RUN} \s*+ {_NO_QUOTED} {_NO_TAIL} (?P<cut>)
    | (?: {_NO_SENTENCE_BEFORE}\. | [[!?\p{{SB=ATerm}}]--[.]] ) {_RUN}
      (?: \s++ {_NO_TAIL} (?!{_LOWER_NEXT}) | {_NO_QUOTED} {_CJK_NEXT} )
      (?P<cut>)
    | [\p{{SB=STerm}}\p{{SB=ATerm}}] {_RUN}
    | \n [^\S\n]*+ \n \s*+ {_NO_TAIL} (?P<cut>)
    """,
    regex.VERBOSE | regex.V1 | regex.MULTILINE,
)
_LINE_END = regex.compile(rf"\n\s*+{_NO_TAIL}(?P<cut>)")
_WORD_END = regex.compile(rf"[\s,;،؛、，；]++{_NO_TAIL}(?P<cut>)")
_GRAPHEME = regex.compile(r"\X")

_Splitter = Callable[[str, int], Iterable[tuple[int, int]]]
"""Cuts a text of a number of tokens into pieces that together are all of it, in order."""


def _splitter(end: "regex.Pattern[str]") -> _Splitter:
    def split(text: str, _tokens: int) -> Iterable[tuple[int, int]]:
        cuts = {m.end() for m in end.finditer(text) if m["cut"] is not None}
        return pairwise(sorted(cuts | {0, len(text)}))

    return split


sentences = _splitter(_SENTENCE_END)
"""Sentences and paragraphs, with the white space behind them."""

_lines = _splitter(_LINE_END)

_words = _splitter(_WORD_END)
"""What white space or a comma ends; in scripts without spaces that is a phrase."""


def _even_parts(text: str, tokens: int, *, grain: int) -> Iterable[tuple[int, int]]:
    """Runs of whole grapheme clusters (UAX #29) of about `grain` tokens each."""
    starts = [m.start() for m in _GRAPHEME.finditer(text)]
    step = max(1, len(starts) * grain // tokens)
    return pairwise([*starts[::step], len(text)])


def chunk(
    text: str,
    *,
    budget: int,
    overlap: int,
    count_tokens: TokenCounter,
    borders: Sequence[int] = (),
) -> list[Span]:
    """The passages of a text, in code points of the text as given.

    A text of at most `budget` tokens is one passage; an empty one has none. A longer text is
    packed greedily from whole sentences; a sentence over the budget is cut at its lines, else at
    spaces and commas, else between grapheme clusters. Neighbours share as many whole pieces as
    `overlap` tokens hold, and a short last passage reaches back further.

    A passage that is half full ends at a border, and the next one shares nothing with it.

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
    parts, part_counts = [whole], tokens
    cuts = [cut for cut in borders if whole.start < cut < whole.end]
    if cuts:
        around = pairwise((whole.start, *cuts, whole.end))
        parts = [part for a, b in around if (part := _trim(text, Span(a, b))).start < part.end]
        part_counts = _count(text, parts, count_tokens)
    pieces, counts = _cut(text, parts, part_counts, budget, count_tokens)
    first_of_part = {part.start for part in parts} if cuts else set()
    opens = [place for place, piece in enumerate(pieces) if piece.start in first_of_part]
    return _pack(text, pieces, counts, budget, overlap, count_tokens, opens)


def _trim(text: str, span: Span) -> Span:
    piece = text[span.start : span.end]
    start = span.end - len(piece.lstrip())
    return Span(start, max(start, span.start + len(piece.rstrip())))


def _count(text: str, spans: Sequence[Span], count_tokens: TokenCounter) -> list[int]:
    return count_tokens([text[start:end] for start, end in spans]) if spans else []


def _cut(
    text: str,
    pieces: list[Span],
    counts: list[int],
    budget: int,
    count_tokens: TokenCounter,
) -> tuple[list[Span], list[int]]:
    """Trimmed pieces in order, each within the budget or a single grapheme, and their tokens."""
    for split in (sentences, _lines, _words):
        pieces, counts = _cut_again(text, pieces, counts, budget, count_tokens, split)
    grain = max(1, budget // _PIECES_PER_PASSAGE)
    split = partial(_even_parts, grain=grain)
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
    split: _Splitter,
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
    opens: Sequence[int],
) -> list[Span]:
    """Plan by the sum of the pieces' tokens, then count the passages that come of it.

    The tokens of a whole can be more than those of its parts. Where they go over the budget, the
    parts are rated higher and the plan is made again, ever more strictly, so that the number of
    rounds is at most about log2(budget).
    """
    ratings = [min(count, budget) for count in counts]
    strictness = 1
    while True:
        windows = _plan(ratings, budget, overlap, opens)
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


def _plan(
    ratings: list[int], budget: int, overlap: int, opens: Sequence[int]
) -> list[tuple[int, int]]:
    """Greedy windows `pieces[first:end]`; both rise strictly, as no rating is over budget.

    `opens` are the pieces before which a window ends rather than before others.
    """
    total = [0, *accumulate(ratings)]
    first = 0
    windows: list[tuple[int, int]] = []
    while True:
        end = bisect_right(total, total[first] + budget) - 1
        if end < len(ratings) and opens:
            border = opens[bisect_right(opens, end) - 1]
            if 2 * (total[border] - total[first]) >= budget:
                windows.append((first, border))
                first = border
                continue
        windows.append((first, end))
        if end == len(ratings):
            break
        # Overlap leaves room for at least one new piece.
        shared = min(overlap, budget - ratings[end])
        first = bisect_left(total, total[end] - shared)
    if len(windows) > 1 and first not in opens and total[-1] - total[first] < budget // 4:
        further_back = bisect_left(total, total[-1] - budget // 2)
        windows[-1] = (min(first, max(windows[-2][0] + 1, further_back)), len(ratings))
    return windows
