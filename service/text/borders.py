"""Where a text may be cut, from the best place to the worst: sentences, lines, words, graphemes.

Sentences follow UAX #29 (Unicode Text Segmentation) in one pass of a regular expression, made
stricter where its default rules cut too often: after initials, titles and list numbers, and at
marks with no space behind them. Libraries that apply the rules one character at a time take more
than a second per 25,000 characters, and quadratic time in a run of spaces.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import regex

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

Splitter = Callable[[str, int], Iterable[tuple[int, int]]]
"""Cuts a text of a number of tokens into pieces that together are all of it, in order."""


def _splitter(end: "regex.Pattern[str]") -> Splitter:
    def split(text: str, _tokens: int) -> Iterable[tuple[int, int]]:
        cuts = {m.end() for m in end.finditer(text) if m["cut"] is not None}
        return pairwise(sorted(cuts | {0, len(text)}))

    return split


sentences = _splitter(_SENTENCE_END)
"""Sentences and paragraphs, with the white space behind them."""

lines = _splitter(_LINE_END)

words = _splitter(_WORD_END)
"""What white space or a comma ends; in scripts without spaces that is a phrase."""


def even_parts(text: str, tokens: int, *, grain: int) -> Iterable[tuple[int, int]]:
    """Runs of whole grapheme clusters (UAX #29) of about `grain` tokens each."""
    starts = [m.start() for m in _GRAPHEME.finditer(text)]
    step = max(1, len(starts) * grain // tokens)
    return pairwise([*starts[::step], len(text)])
