"""Markdown: the text as it is, with its first heading as the title."""

import re

from service.documents.charset import decoded

_ATX_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_CLOSING_MARKS = re.compile(r"(^|\s+)#+$")
_SETEXT_TEXT = re.compile(r" {0,3}[^\s>*+|#-]")  # no quotation, list, table or code
_SETEXT_LINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(```+(?=[^`]*$)|~~~+)")


def read_markdown(content: bytes) -> tuple[str, str]:
    """Title and text. Raises `UnicodeDecodeError`."""
    text = decoded(content)
    return _first_heading(text), text


def _first_heading(text: str) -> str:
    """The first heading outside front matter and fenced code; empty if there is none."""
    lines = text.splitlines()
    if lines and lines[0].rstrip() == "---":
        end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 0)
        lines = lines[end + 1 :]
    fence, previous = "", ""
    for line in lines:
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" \t`~"):
                fence = ""
            continue
        if mark:
            fence, previous = mark[1], ""
            continue
        heading = _ATX_HEADING.match(line)
        if heading and (title := _CLOSING_MARKS.sub("", heading[1].strip())):  # `C#` stays
            return title
        if _SETEXT_TEXT.match(previous) and _SETEXT_LINE.fullmatch(line):
            return previous.strip()
        previous = line
    return ""
