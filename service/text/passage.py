"""What models read of a document: passages that each carry the title and their headings.

Encoder, reranker, training and evaluation take a passage's text from here and from nowhere else.
Whatever changes it for any document needs a new `PASSAGE_TEXT_VERSION`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from service.text.chunker import TokenCounter, chunk
from service.text.normalizer import break_up, readable
from service.types import WHOLE, Document, Mark, Span, StoredPassage

PASSAGE_TEXT_VERSION = 2

_TITLE_SHARE = 4
"""A title gets at most a quarter of a window, and so do headings: searches look for the text."""


def passage_text(title: str, text: str, prefixes: Collection[str] = ()) -> str:
    """A passage as models read it, without a prefix: the title, then the text.

    Both are cleaned, and prefixes that were typed into them removed (`normalizer.readable`). Give
    it the part of the title that `title_end` allows. "" where nothing is left of the text.

    Raises `UnprocessableTextError` for a lone surrogate.
    """
    read = readable(text, prefixes, field="text").text
    before = readable(title, prefixes, field="title").text if title and read else ""
    return f"{before} {read}" if before else read


def stored_text(passage: StoredPassage, prefixes: Collection[str]) -> str:
    """`passage_text` of a passage in the store."""
    return passage_text(passage.before, passage.text, prefixes)


def title_end(title: str, *, window: int, count_tokens: TokenCounter) -> int:
    """Where models stop reading a title: after a quarter of the `window`, on a border.

    In code points; `window` is in tokens. 0 where the title is blank.
    """
    spans = chunk(
        title,
        budget=max(1, window // _TITLE_SHARE),
        overlap=0,
        count_tokens=partial(_count, count_tokens),
    )
    return spans[0].end if spans else 0


def headings_end(outline: Sequence[Mark], *, window: int, count_tokens: TokenCounter) -> int | None:
    """Where models stop reading each of the headings, in code points; None if they read them all.

    After a quarter of the `window` of the one that has most tokens.
    """
    read = sorted({mark.under("") for mark in outline} - {""})
    most = max(1, window // _TITLE_SHARE)
    tokens = _count(count_tokens, read) if read else []
    long = [text for text, count in zip(read, tokens, strict=True) if count > most]
    ends = (title_end(text, window=window, count_tokens=count_tokens) for text in long)
    return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class CutDocument:
    """The passages of a document, and where models stop reading its title and headings."""

    spans: Sequence[Span]
    title_end: int
    headings_end: int | None = None


def cut_document(
    document: Document, *, budget: int, overlap: int, count_tokens: TokenCounter
) -> CutDocument:
    """Cut a document so that each passage fits `budget` tokens with what is read before it.

    A passage ends before a heading if it is half full. The rest is as for `chunk`.

    Raises `ValueError` when `budget` leaves no room for text.
    """
    end = title_end(document.title, window=budget, count_tokens=count_tokens)
    title, outline = document.title[:end].strip(), document.outline
    last = headings_end(outline, window=budget, count_tokens=count_tokens)
    count = partial(_count, count_tokens)
    before = {mark.under(title, last) for mark in (WHOLE, *outline)} - {""}
    room = budget - max(count([f"{text} " for text in sorted(before)]), default=0)
    # The title's share of the window comes off the overlap as well.
    spans = chunk(
        document.text,
        budget=room,
        overlap=min(overlap, max(0, room - 1)),
        count_tokens=count,
        borders=[
            mark.start
            for before_it, mark in pairwise((WHOLE, *outline))
            if mark.headings != before_it.headings
        ],
    )
    return CutDocument(spans, end, last)


def _count(count_tokens: TokenCounter, texts: Sequence[str]) -> list[int]:
    """Tokens of the texts as models read them."""
    return count_tokens([break_up(text) for text in texts])
