"""The words of a text, for search by words: in any script, with spaces between words or without.

The store holds them: whatever changes the words of any text needs a new `WORDS_VERSION`.
"""

import unicodedata
from itertools import pairwise

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
