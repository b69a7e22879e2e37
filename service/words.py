"""The words of a text, for search by words: in any script, with spaces between words or without.

The store holds them: whatever changes the words of any text needs a new `WORDS_VERSION`.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import regex

WORDS_VERSION = 1

# Scripts that are written without spaces, or, as Hangul, with whole phrases between them.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
_RUN = regex.compile(
    rf"[{_UNSPACED}][[{_UNSPACED}]\p{{M}}]*+"
    rf"|[\w--[{_UNSPACED}\p{{M}}]][\w--[{_UNSPACED}]]*+"
    r"|\p{Extended_Pictographic}",
    regex.V1,
)
_IS_UNSPACED = regex.compile(rf"[{_UNSPACED}]", regex.V1)
_CLUSTER = regex.compile(r"\X")
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")


class PlacedWord(NamedTuple):
    """A word as `tokenize` gives it; it was read from `text[start:end]`."""

    word: str
    start: int
    end: int


def tokenize(text: str) -> list[str]:
    """Words of any script, after NFKC and case folding, without invisible characters.

    Letters, digits and their marks that stand together are a word. A run of Han, kana, Hangul,
    Thai, Lao, Khmer or Burmese becomes its overlapping pairs of characters (grapheme clusters), as
    Lucene's CJKAnalyzer makes them; a lone character stays alone. An emoji is a word. No stop
    words, no stemming.

    Example:
        tokenize("Đạo hàm, 東京都")  # ["đạo", "hàm", "東京", "京都"]
    """
    words: list[str] = []
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    if not _IS_UNSPACED.search(plain):
        found: list[str] = _RUN.findall(plain)
        return found
    for run in _RUN.findall(plain):
        if not _IS_UNSPACED.match(run):
            words.append(run)
            continue
        characters = _CLUSTER.findall(run)
        words += ["".join(pair) for pair in pairwise(characters)] or characters
    return words


def placed_words(text: str) -> list[PlacedWord]:
    """The words that `tokenize` gives, each with its place in the text as given."""
    plain, places = _folded(text)
    words: list[PlacedWord] = []
    for run in _RUN.finditer(plain):
        spans = [run.span()]
        if _IS_UNSPACED.match(run[0]):
            spans = [found.span() for found in _CLUSTER.finditer(plain, *run.span())]
            spans = [(first[0], second[1]) for first, second in pairwise(spans)] or spans
        words += [
            PlacedWord(plain[start:end], places[start][0], places[end - 1][1])
            for start, end in spans
        ]
    return words


def _folded(text: str) -> tuple[str, Sequence[tuple[int, int]]]:
    """The text as `tokenize` reads it, and for each character the place that it comes from."""
    plain = text.casefold()
    if (
        len(plain) == len(text)  # folding only ever lengthens
        and not _INVISIBLE.search(text)
        and unicodedata.is_normalized("NFKC", text)
    ):
        return plain, [(place, place + 1) for place in range(len(text))]
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    for cluster in _CLUSTER.finditer(text):
        folded = _folded_cluster(cluster[0])
        parts.append(folded)
        places += [cluster.span()] * len(folded)
    return "".join(parts), places


@lru_cache(maxsize=10_000)
def _folded_cluster(cluster: str) -> str:
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", cluster)).casefold()
