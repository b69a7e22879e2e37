"""One cleaning for queries and passages, so that both sides of the search see text alike.

Vectors depend on it: whatever changes the result for any text needs a new `NORMALIZER_VERSION`.

A tokenizer turns control tokens that a user typed, such as `<s>` or `[SEP]`, into tokens that steer
the model: a text about the `<s>` tag would lose the very word it is about. Some vocabularies hold
these strings as ordinary pieces too, so options of the tokenizer do not help: the text has to
change. A space goes behind the opening bracket.
"""

import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

import regex

from service.errors import UnprocessableTextError

NORMALIZER_VERSION = 2

TYPED_PREFIXES = ("query:", "passage:")

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
# Format characters that mean nothing to search. Left alone are those that are visible or spell a
# word: Arabic number signs, the Mongolian vowel separator, hieroglyph joiners.
_NOISE = [
    0x00AD,  # soft hyphen
    0x061C,  # Arabic letter mark
    0x200B,  # zero width space
    *(0x200E, 0x200F),  # directional marks
    *range(0x202A, 0x202F),  # directional embeddings and overrides
    *range(0x2060, 0x2070),  # word joiner, invisible operators, isolates, deprecated controls
    0xFEFF,  # byte order mark
    *range(0xFFF9, 0xFFFC),  # interlinear annotation
    0xE0001,  # language tag
]
# The only characters whose decomposition begins with a mark; taken apart here so that
# `_sort_long_mark_runs` sees every mark. NFC does not compose them again.
_MARK_PAIRS = {c: unicodedata.normalize("NFD", chr(c)) for c in (0x0344, 0x0F73, 0x0F75, 0x0F81)}
_TABLE: dict[int, str | None] = {
    **{c: " " if chr(c).isspace() else None for c in _CONTROLS},
    **dict.fromkeys(_NOISE),
    **_MARK_PAIRS,
}

_SURROGATE = regex.compile(r"[\uD800-\uDFFF]")
_LONE_SURROGATE = "{} is not valid Unicode: it holds a lone surrogate"
_RARE = regex.compile(r"[\u200C\u200D\U000E0020-\U000E007F]")
"""Joiners and tags; most texts have none, and are spared the search for their places."""
_LONG_MARK_RUN = regex.compile(r"\p{M}{32,}+")

# Scripts whose letters change shape or spelling at a joiner: Arabic and its kin, the Indic family
# from Devanagari to Tibetan and Khmer, Mongolian, and theirs in the higher planes. Thai and Lao,
# the gap at 0E00-0EFF, know no joiners.
_JOINING_BLOCKS = (
    r"\u0600-\u0DFF\u0F00-\u109F\u1700-\u18AF\u1900-\u1C4F\u1CD0-\u1CFF\uA800-\uABFF"
    r"\uFB50-\uFDFF\uFE70-\uFEFE\U00010A00-\U00011FFF\U0001E900-\U0001E95F"
)
# Every mark counts, of any script: canonical ordering may change which one is next to the joiner.
_JOINABLE = rf"[[[{_JOINING_BLOCKS}]&&[\p{{L}}\p{{N}}]]\p{{M}}]"
_EMOJI = r"\p{Extended_Pictographic}"
_EMOJI_END = rf"[{_EMOJI}\p{{Emoji_Modifier}}\uFE0F\U000E007F]"
_JOINER = regex.compile(
    rf"(?<={_JOINABLE})([\u200C\u200D])[\u200C\u200D]*+(?={_JOINABLE})"
    rf"|(?<={_EMOJI_END})(\u200D)[\u200C\u200D]*+(?={_EMOJI})"
    r"|[\u200C\u200D]++",
    regex.V1,
)
# Tag characters spell the flag of a region after a flag emoji, and are noise elsewhere.
_EMOJI_TAGS = regex.compile(
    rf"(?<=[{_EMOJI}\p{{Emoji_Modifier}}\uFE0F])([\U000E0020-\U000E007F]++)"
    r"|[\U000E0020-\U000E007F]++",
    regex.V1,
)

_ANGLED = (
    r"s|pad|unk|unknown|mask|cls|sep|bos|eos|eod|eop|eot|bot|endoftext|startoftext"
    r"|extra_id_\d+|unused_?\d+|special_?\d+|reserved_\w+"
    r"|start_of_(?:turn|text|image)|end_of_(?:turn|text|image)"
)
_SQUARE = r"cls|sep|pad|unk|mask|bos|eos|unused_?\d+"
_CONTROL_TOKEN = regex.compile(
    rf"</?(?:{_ANGLED})>|\[/?(?:{_SQUARE})\]|<\|[^|]+\|>", regex.IGNORECASE
)
"""Control tokens of published tokenizers: BERT, RoBERTa, XLM-R, T5, GPT, Llama, Qwen, Gemma."""

_LONGEST = 40
"""Characters between the brackets; a longer name is no control token."""

# NFKC, which many tokenizers apply, turns these into the ASCII brackets.
_OPEN, _CLOSE = r"<\[﹤＜［﹇", r">\]﹥＞］﹈"
_BRACKETED = regex.compile(rf"([{_OPEN}])(?=([^\s{_OPEN}]{{1,{_LONGEST}}}?[{_CLOSE}]))")


@dataclass(frozen=True, slots=True)
class Normalized:
    """A cleaned text without prefix; `removed_prefix` is the first one typed, in lower case."""

    text: str
    removed_prefix: str | None


def clean(text: str, *, field: str | None = None) -> str:
    """NFC, without control characters and zero-width noise, white space folded and trimmed.

    Letters, digits and combining marks of every script stay, and so do variation selectors. A
    joiner (U+200C, U+200D) stays between two characters that it can join: letters and marks of the
    Arabic, Indic and related scripts, or emoji. Cleaning twice changes nothing.

    Raises `UnprocessableTextError` for a lone surrogate, naming `field`.
    """
    folded = " ".join(text.split())
    if folded.isprintable() and (folded.isascii() or not _LONG_MARK_RUN.search(folded)):
        # All that happens to printable text below is NFC, which takes `_MARK_PAIRS` apart itself.
        return unicodedata.normalize("NFC", folded)
    if _SURROGATE.search(text):
        raise UnprocessableTextError(_LONE_SURROGATE.format(field or "text"), field)
    text = text.translate(_TABLE)
    has_rare = _RARE.search(text) is not None
    if has_rare:
        text = _EMOJI_TAGS.sub(r"\1", text)
    # A joiner that goes may let a letter compose with a mark behind it, which changes what the
    # next joiner is beside. No letter composes more than a few times, so this ends soon.
    while (joined := _nfc(_JOINER.sub(r"\1\2", text) if has_rare else text)) != text:
        text = joined
    return " ".join(text.split())


def require_unicode(text: str, field: str) -> None:
    """Raise `UnprocessableTextError` for a lone surrogate."""
    if not text.isascii() and _SURROGATE.search(text):
        raise UnprocessableTextError(_LONE_SURROGATE.format(field), field)


def normalize(
    text: str, *, max_chars: int, prefixes: Collection[str] = (), field: str = "query"
) -> Normalized:
    """As `readable`, with limits of the length.

    Raises `UnprocessableTextError` also when nothing, or more than `max_chars` characters, is left.
    The spaces that break up control tokens do not count.
    """
    bare, removed = _bare(text, prefixes, field)
    if not 1 <= len(bare) <= max_chars:
        raise UnprocessableTextError(
            f"{field} must have 1 to {max_chars} characters after cleaning; it has {len(bare)}",
            field,
        )
    return Normalized(break_up(bare), removed)


def readable(text: str, prefixes: Collection[str] = (), *, field: str | None = None) -> Normalized:
    """Clean a text, remove the prefixes that its author typed, and break up control tokens.

    `query:` and `passage:` are recognised, and the model's own `prefixes`: in any case, in
    full-width letters, with spaces before the colon, and when repeated. A prefix that ends in a
    letter or digit is left, as it cannot be told from the text. The encoder adds the one prefix
    that the model sees. The result may be empty.

    Raises `UnprocessableTextError` for a lone surrogate, naming `field`.
    """
    bare, removed = _bare(text, prefixes, field)
    return Normalized(break_up(bare), removed)


def break_up(text: str) -> str:
    """The text with a space in each string that is a control token, also in full-width letters.

    Takes linear time. A text that was broken up stays as it is.

    Example:
        break_up("what does the <s> tag do")  # "what does the < s> tag do"
    """
    broken: str = _BRACKETED.sub(_broken, text)
    return broken


def _bare(text: str, prefixes: Collection[str], field: str | None) -> tuple[str, str | None]:
    """The cleaned text without typed prefixes, and the first of these."""
    cleaned = clean(text, field=field)
    pattern = _prefix_pattern(tuple(sorted(prefixes)))
    removed, start = None, 0
    while match := pattern.match(cleaned, start):
        typed = unicodedata.normalize("NFKC", match[0]).lower()
        removed = removed or typed.replace(" :", ":").strip()
        start = match.end()
    return cleaned[start:], removed


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", _LONG_MARK_RUN.sub(_sort_long_mark_runs, text))


def _sort_long_mark_runs(match: "regex.Match[str]") -> str:
    """Canonical ordering by a proper sort: the interpreter's own takes quadratic time."""
    group, keyed = 0, []
    for mark in match[0]:
        order = unicodedata.combining(mark)
        # A mark of class 0 stays where it is and nothing passes it.
        group += order == 0
        keyed.append((group, order, mark))
        group += order == 0
    keyed.sort(key=lambda entry: entry[:2])
    return "".join(mark for _, _, mark in keyed)


@lru_cache(maxsize=64)
def _prefix_pattern(prefixes: tuple[str, ...]) -> "regex.Pattern[str]":
    known = {clean(prefix) for prefix in (*TYPED_PREFIXES, *prefixes)}
    wanted = sorted((p for p in known if p and not p[-1].isalnum()), key=len, reverse=True)
    alternatives = ("".join(_spellings(prefix)) for prefix in wanted)
    return regex.compile(f"(?:{'|'.join(alternatives)}) ?", regex.IGNORECASE)


def _spellings(prefix: str) -> Iterator[str]:
    for character in prefix:
        if character == ":":
            yield "(?: ?[:：])"
        elif "!" <= character <= "~":
            full_width = chr(ord(character) + 0xFEE0)
            yield f"[{regex.escape(character)}{full_width}]"
        else:
            yield regex.escape(character, literal_spaces=True)


def _broken(found: "regex.Match[str]") -> str:
    opening: str = found[1]
    whole = unicodedata.normalize("NFKC", opening + found[2])
    return f"{opening} " if _CONTROL_TOKEN.fullmatch(whole) else opening
