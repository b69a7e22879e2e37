"""The content of an HTML page as plain text, without menus, cookie bars and the like.

The parser, lexbor, builds the tree that a browser builds. The rules for reading it are our own,
because no library passed our test pages: trafilatura and resiliparse drop content (short pages,
lists of links, notes, options, texts of images) and keep hidden elements and menus; the text
functions of selectolax and lxml join words of neighbouring elements or keep all menus.
"""

import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.documents.charset import SNIFFED_BYTES, declared_charset, decoded
from service.errors import InvalidInputError

_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_DROPPED = frozenset(
    {"annotation", "audio", "canvas", "datalist", "desc", "head", "iframe", "metadata", "noembed"}
    | {"noframes", "noscript", "rp", "rt", "script", "style", "template", "title", "video"}
)
_PARAGRAPHS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "center", "details", "dialog", "dir"}
    | {"div", "dl", "fieldset", "figure", "footer", "form", "frameset", "header", "hgroup", "hr"}
    | {"html", "listing", "main", "menu", "nav", "ol", "p", "plaintext", "search", "section"}
    | {"table", "ul", "xmp", *_HEADINGS}
)
_LINES = frozenset(
    {"br", "button", "caption", "dd", "dt", "figcaption", "input", "legend", "li", "optgroup"}
    | {"option", "select", "summary", "textarea", "tr"}
)
_CELLS = frozenset({"area", "img", "object", "td", "th"})
_SECTIONS = frozenset({"article", "aside", "main", "section"})
_SHOWN_ATTRIBUTES = {"img": "alt", "area": "alt", "input image": "alt"} | dict.fromkeys(
    ("input button", "input reset", "input submit"), "value"
)

_AROUND_ROLES = frozenset({"alertdialog", "contentinfo", "dialog", "menu", "menubar", "navigation"})
_DISPLAY = re.compile(r"\bdisplay\s*:\s*([a-z-]+)")
_INVISIBLE = re.compile(r"\bvisibility\s*:\s*(?:hidden|collapse)")
_AROUND_NAMES = re.compile(
    r"(?:cookies?|consent|gdpr|ccpa)[-_]?(?:law[-_]info[-_]|policy[-_])?"
    r"(?:alert|banner|bar|consent|dialog|disclaimer|modal|notice|notification|overlay|popup|prompt"
    r"|wall)|\bskip-(?:link|main|nav|to)|cybotcookiebot|didomi-|onetrust-"
    r"|qc-cmp2|truste-|usercentrics|\bcc-window|\bcky-"
)
"""An `id` or `class` of a bar that asks for consent, or of a link that skips the menu."""

_WHITE_SPACE = re.compile(r"\s+")
_MOST_HEADINGS = 10
"""The title is one of these first headings."""
_MOST_TITLE_CHARS = 300
"""A longer heading is not a title: it was never closed and holds the page."""

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_NEVER_OPEN = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
    | {"colgroup", "dd", "dt", "li", "optgroup", "option", "p", "rp", "rt", "tbody", "td", "tfoot"}
    | {"th", "thead", "tr"}
)
"""Elements without an end tag, or which the next one of their kind ends."""

_MOST_NESTING = 1 << 24
"""Open elements, summed over all start tags: the parser's time and memory grow with them."""


class _Lines:
    """Collects inline text into lines, with a blank line between paragraphs."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._open: list[str] = []

    def add(self, text: str) -> None:
        self._open.append(text)

    def border(self, name: str, display: str) -> None:
        """The beginning or end of an element."""
        if name in _PARAGRAPHS:
            self.end_paragraph()
        elif name in _LINES or display not in ("", "inline", "contents", "none"):
            self.end_line()
        elif name in _CELLS or "-" in name:  # a custom element is a box more often than a word
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


def read_html(page: bytes) -> tuple[str, str]:
    """Title and text of a page. The title is `<title>` or else the first heading.

    Scripts, hidden elements, navigation, cookie bars, and the header and footer of the page are
    left out; headings in the header stay. A page with nothing else is read whole. Images are read
    by their `alt`. White space folds as in a browser, except within `<pre>`; block elements end
    lines, and a blank line separates paragraphs. The charset is that of the byte order mark, else
    the one that the page declares, else UTF-8. Raises `UnicodeDecodeError`, and `InvalidInputError`
    for a page that is nested too deep.
    """
    markup = decoded(page, declared_charset(page[:SNIFFED_BYTES]))
    _check_nesting(markup)
    parser = LexborHTMLParser(markup, scripting=True)
    text, headings = _content(parser)
    return _title(parser, headings), text


def _check_nesting(markup: str) -> None:
    """Raise `InvalidInputError` for what would keep the parser busy for minutes."""
    opened: dict[str, int] = {}
    depth = nesting = 0
    for closing, name in _TAG.findall(markup):
        tag = name.lower()
        if tag in _NEVER_OPEN:
            nesting += depth
        elif not closing:
            depth += 1
            nesting += depth
            opened[tag] = opened.get(tag, 0) + 1
        elif opened.get(tag, 0) > 0:
            depth -= 1
            opened[tag] -= 1
        if nesting > _MOST_NESTING:
            raise InvalidInputError("has elements nested too deep", "text")


def _title(parser: LexborHTMLParser, headings: list[str]) -> str:
    titles = (node.text() for node in parser.css("title:not(svg title)"))
    found = (" ".join(title.split()) for title in (*titles, *headings))
    return next(filter(None, found), "")


class _Place(NamedTuple):
    """Whether an element is in a section, or in a header, of which only headings are read."""

    in_section: bool = False
    is_muted: bool = False


class _Reader:
    """Reads the visible text under a node. Unless `whole`, menus and the like are left out."""

    def __init__(self, *, whole: bool) -> None:
        self.headings: list[LexborNode] = []
        self._lines, self._whole = _Lines(), whole

    def read(self, root: LexborNode) -> str:
        """The text; `headings` are then those in it."""
        # A stack instead of recursion: pages may be nested deeper than the interpreter recurses.
        stack: list[tuple[LexborNode, str | None, _Place]] = [(root, None, _Place())]
        while stack:
            node, left, place = stack.pop()
            if left is not None:
                self._lines.border(node.tag or "", left)
            elif node.is_text_node:
                self._add(node.text_content or "", place)
            elif node.is_element_node and (display := self._enter(node, place)) is not None:
                stack.append((node, display, place))
                inner = self._inside(node, place)
                children = list(node.iter(include_text=True))
                stack.extend((child, None, inner) for child in reversed(children))
        return self._lines.text()

    def _add(self, text: str, place: _Place) -> None:
        if not place.is_muted:
            self._lines.add(text)

    def _enter(self, node: LexborNode, place: _Place) -> str | None:
        """Begin an element: returns its `display` ("" for the default); None to skip it."""
        name, attributes = node.tag or "", node.attributes
        style = (attributes.get("style") or "").lower()
        if name in _DROPPED or _is_hidden(name, attributes, style):
            return None
        if not self._whole and _is_around(name, attributes, place):
            return None
        if name == "pre" and not place.is_muted:
            self._lines.add_preformatted(_preformatted(node))
            return None
        if name in _HEADINGS:
            self.headings.append(node)
        display = found[1] if (found := _DISPLAY.search(style)) else ""
        self._lines.border(name, display)
        if name == "a" and node.prev is not None and node.prev.tag == "a":
            self._lines.add(" ")  # side by side they are a menu, not one word
        self._add(_replacement(name, attributes), place)
        return display

    def _inside(self, node: LexborNode, place: _Place) -> _Place:
        """The place of an element's children."""
        name, role = node.tag, node.attributes.get("role")
        is_banner = name == "header" or role == "banner"
        if is_banner and not self._whole and not place.in_section:
            return place._replace(is_muted=True)
        if name in _SECTIONS or role == "main":
            return place._replace(in_section=True)
        return place._replace(is_muted=False) if name in _HEADINGS else place


def _content(parser: LexborHTMLParser) -> tuple[str, list[str]]:
    """The text, and the first paragraph of each heading in it."""
    root = parser.body or parser.root
    for whole in (False, True):
        reader = _Reader(whole=whole)
        if root is not None and (text := reader.read(root)):
            return text, [_heading(node) for node in reader.headings[:_MOST_HEADINGS]]
    return "", []


def _heading(node: LexborNode) -> str:
    heading = _Reader(whole=True).read(node).partition("\n\n")[0].replace("\n", " ")
    return heading if len(heading) <= _MOST_TITLE_CHARS else ""


def _is_hidden(name: str, attributes: dict[str, str | None], style: str) -> bool:
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    if attributes.get("aria-hidden") == "true" and name not in ("body", "main"):
        return True
    if name == "dialog" and "open" not in attributes:
        return True
    display = _DISPLAY.search(style)
    return bool(display and display[1] == "none") or _INVISIBLE.search(style) is not None


def _is_around(name: str, attributes: dict[str, str | None], place: _Place) -> bool:
    """Whether an element is not content: a menu, the page's footer, a cookie bar."""
    if name == "nav" or attributes.get("role") in _AROUND_ROLES:
        return True
    if name == "footer" and not place.in_section:
        return True
    if name in ("body", "html") or name in _SECTIONS:
        return False
    names = f"{attributes.get('id') or ''} {attributes.get('class') or ''}".lower()
    return _AROUND_NAMES.search(names) is not None


def _replacement(name: str, attributes: dict[str, str | None]) -> str:
    """The text that an element without content shows."""
    kind = f"input {attributes.get('type') or ''}".lower() if name == "input" else name
    return attributes.get(_SHOWN_ATTRIBUTES.get(kind, "")) or ""


def _preformatted(node: LexborNode) -> str:
    for line_break in node.css("br"):
        line_break.replace_with("\n")
    return node.text()
