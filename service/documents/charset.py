"""Decodes bytes by the charset that they declare."""

import re

import webencodings
from selectolax.lexbor import LexborHTMLParser

SNIFFED_BYTES = 1024
"""A page declares its charset in these bytes: a rule of the HTML standard."""
_XML_CHARSET = re.compile(r"<\?xml[^>]*\bencoding\s*=\s*[\"']([\w.:-]+)")
_META_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


def declared_charset(head: bytes) -> str | None:
    """The charset that the beginning of a page declares, in the words of the page."""
    markup = head.decode("latin-1")
    if found := _XML_CHARSET.match(markup.lstrip()):
        return found[1]
    for meta in LexborHTMLParser(markup, scripting=True).css("meta"):
        attributes = meta.attributes
        if charset := attributes.get("charset"):
            return charset
        is_type = (attributes.get("http-equiv") or "").lower() == "content-type"
        if is_type and (found := _META_CHARSET.search(attributes.get("content") or "")):
            return found[1]
    return None


def decoded(content: bytes, charset: str | None = None) -> str:
    """Text by its byte order mark, else by `charset`, else as UTF-8.

    `charset` is one of the labels of the Web's Encoding Standard. An unknown label counts as UTF-8,
    and so does UTF-16, which a page cannot declare in its own bytes. Raises `UnicodeDecodeError`.
    """
    encoding = webencodings.lookup(charset) if charset else None
    if encoding is None or encoding.name.startswith("utf-16"):
        encoding = webencodings.UTF8
    text, _ = webencodings.decode(content, encoding, errors="strict")
    return text
