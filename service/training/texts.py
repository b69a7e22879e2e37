"""Texts as a model that trains is given them: cleaned, and with one prefix."""

import sys

from service.errors import UnprocessableTextError
from service.text.normalizer import normalize


def without_prefix(text: str, prefix: str = "") -> str:
    """A text cleaned as the service cleans it, a prefix that was typed into it taken away.

    "" where nothing is left, or where the text is not valid Unicode: whoever trains passes over it.
    """
    prefixes = (prefix,) if prefix else ()
    try:
        # Readers bound the texts; a title before a text may make more of it.
        return normalize(text, max_chars=sys.maxsize, prefixes=prefixes, field="text").text
    except UnprocessableTextError:
        return ""


def prefixed(text: str, prefix: str) -> str:
    """What the model is given: the text `without_prefix`, behind the prefix."""
    return prefix + without_prefix(text, prefix)
