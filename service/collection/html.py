"""What an HTML page says, as plain text."""

import re
import warnings

from bs4 import (
    BeautifulSoup,
    CData,
    MarkupResemblesLocatorWarning,
    NavigableString,
    PageElement,
    Tag,
    XMLParsedAsHTMLWarning,
)
from bs4.exceptions import ParserRejectedMarkup

from service.errors import InvalidInputError

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_DROPPED = frozenset({"script", "style", "template", "noscript", "title"})
_PARAGRAPHS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "details", "dialog", "div", "dl"}
    | {"fieldset", "figure", "footer", "form", "header", "hr", "html", "main", "nav", "ol", "p"}
    | {"section", "table", "ul", *_HEADINGS}
)
_LINES = frozenset({"br", "caption", "dd", "dt", "figcaption", "legend", "li", "summary", "tr"})
_CELLS = frozenset({"td", "th"})

_WHITE_SPACE = re.compile(r"\s+")


class _Lines:
    """Gathers inline text into lines, and puts a blank line between paragraphs."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._open: list[str] = []

    def add(self, text: str) -> None:
        self._open.append(text)

    def border(self, name: str) -> None:
        """What the beginning or end of an element means."""
        if name in _PARAGRAPHS:
            self.end_paragraph()
        elif name in _LINES:
            self.end_line()
        elif name in _CELLS:
            self.add(" ")

    def end_line(self) -> None:
        line = _WHITE_SPACE.sub(" ", "".join(self._open)).strip()
        self._open.clear()
        if line:
            self._done.append(line)

    def end_paragraph(self) -> None:
        self.end_line()
        if self._done and self._done[-1]:
            self._done.append("")

    def add_preformatted(self, text: str) -> None:
        self.end_paragraph()
        self._done += [line.rstrip() for line in text.strip("\n").split("\n")]
        self.end_paragraph()

    def text(self) -> str:
        self.end_line()
        return "\n".join(self._done).strip("\n")


def read_html(markup: str) -> tuple[str, str]:
    """Title and text of a page: `<title>` or else the first heading; scripts and styles left out.

    White space folds as in a browser, except within `<pre>`; block elements end lines and
    paragraphs are parted by a blank one. Raises `InvalidInputError` for what no parser takes.
    """
    with warnings.catch_warnings():
        # XHTML is welcome, and a page that looks like a file's name is still a page.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        try:
            soup = BeautifulSoup(markup, "html.parser")
        except ParserRejectedMarkup as error:
            raise InvalidInputError("is not HTML that can be parsed", "text") from error
    return _title(soup), _text(soup)


def _title(soup: BeautifulSoup) -> str:
    for names in (("title",), _HEADINGS):
        for tag in soup.find_all(names):
            title = _WHITE_SPACE.sub(" ", tag.get_text()).strip()
            if title and tag.find_parent("svg") is None:
                return title
    return ""


def _text(soup: BeautifulSoup) -> str:
    # A stack of our own: pages may be nested deeper than the interpreter recurses.
    lines = _Lines()
    stack: list[tuple[PageElement, bool]] = [(soup, False)]
    while stack:
        node, leaving = stack.pop()
        if isinstance(node, Tag):
            if leaving:
                lines.border(node.name)
            elif node.name == "pre":
                for line_break in node.find_all("br"):
                    line_break.replace_with("\n")
                lines.add_preformatted(node.get_text())
            elif node.name not in _DROPPED:
                lines.border(node.name)
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.contents))
        elif type(node) in (NavigableString, CData):  # not a comment, which is a kind of string
            lines.add(str(node))
    return lines.text()
