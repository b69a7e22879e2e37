"""Texts as a model that trains is given them: cleaned, and with one prefix."""

from collections.abc import Sequence

from service.errors import UnprocessableTextError
from service.text import passage
from service.text.normalizer import readable
from service.types import Document

_WINDOW = 256
"""Tokens of the window that a title gets its share of: the default of `passage_tokens`. Documents
are not cut into passages here, and which model will read them is not known everywhere."""


def passage_text(document: Document) -> str:
    """What the models are given of a document: as `service.text.passage` makes it, all of its text.

    "" where nothing is left of the text, as of invisible characters, or of a typed `passage:`
    alone, and where it is not valid Unicode.
    """
    end = passage.title_end(document.title, window=_WINDOW, count_tokens=_most_tokens)
    try:
        return passage.passage_text(document.title[:end], document.text)
    except UnprocessableTextError:
        return ""


def without_prefix(text: str, prefix: str = "") -> str:
    """A text cleaned as the service cleans it, a prefix that was typed into it taken away.

    "" where nothing is left, or where the text is not valid Unicode: training passes over it.
    """
    try:
        return readable(text, (prefix,) if prefix else ()).text
    except UnprocessableTextError:
        return ""


def prefixed(text: str, prefix: str) -> str:
    """What the model is given: the text `without_prefix`, behind the prefix."""
    return prefix + without_prefix(text, prefix)


def _most_tokens(texts: Sequence[str]) -> list[int]:
    """About as many tokens as any tokenizer makes of words: one for three bytes."""
    return [len(text.encode(errors="surrogatepass")) // 3 + 1 for text in texts]
