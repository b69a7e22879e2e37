"""The content of an HTML page as plain text, without menus, cookie bars and the like.

The parser, lexbor, builds the tree that a browser builds. The rules for reading it are our own,
because no library passed our test pages: trafilatura and resiliparse drop content (short pages,
lists of links, notes, options, texts of images) and keep hidden elements and menus; the text
functions of selectolax and lxml join words of neighbouring elements or keep all menus.
"""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.documents.charset import SNIFFED_BYTES, declared_charset, decoded
from service.errors import InvalidInputError

_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
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
_NEVER_AROUND = frozenset({"article", "aside", "body", "html", "main", "section"})
_SHOWN_ATTRIBUTES = {"img": "alt", "area": "alt", "input image": "alt"} | dict.fromkeys(
    ("input button", "input reset", "input submit"), "value"
)

_HIDDEN = (
    "annotation, audio, canvas, datalist, desc, head, iframe, metadata, noembed, noframes, "
    "noscript, rp, rt, script, style, template, title, video, dialog:not([open]), "
    "[hidden]:not([hidden=until-found]), [aria-hidden=true]:not(body, main)"
)
# lexbor finds no ancestors by `:is(...) *`.
_OUTSIDE = ":not(article *, aside *, main *, section *, [role=main] *)"
_AROUND = (
    f"nav, footer{_OUTSIDE}, [role=alertdialog], [role=contentinfo], [role=dialog], [role=menu], "
    "[role=menubar], [role=navigation]"
)
_BANNER = f"header{_OUTSIDE}, [role=banner]{_OUTSIDE}"
"""The header of a page, of which only the headings are read."""

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


class _Reader:
    """Reads the visible text under a node. Unless `whole`, menus and the like are left out."""

    def __init__(self, parser: LexborHTMLParser, *, whole: bool) -> None:
        self.headings: list[LexborNode] = []
        self._lines, self._whole = _Lines(), whole
        left_out = _HIDDEN if whole else f"{_HIDDEN}, {_AROUND}"
        self._left_out = {node.mem_id for node in parser.css(left_out)}
        self._banners = set() if whole else {node.mem_id for node in parser.css(_BANNER)}

    def read(self, root: LexborNode) -> str:
        """The text; `headings` are then those in it."""
        # A stack instead of recursion: pages may be nested deeper than the interpreter recurses.
        stack: list[tuple[LexborNode, str | None, bool]] = [(root, None, False)]
        while stack:
            node, left, is_muted = stack.pop()
            if left is not None:
                self._lines.border(node.tag or "", left)
            elif node.is_text_node:
                self._lines.add("" if is_muted else node.text_content or "")
            elif (
                node.is_element_node
                and node.mem_id not in self._left_out
                and (display := self._enter(node, is_muted=is_muted)) is not None
            ):
                stack.append((node, display, is_muted))
                is_muted = node.mem_id in self._banners or (is_muted and node.tag not in _HEADINGS)
                children = list(node.iter(include_text=True))
                stack.extend((child, None, is_muted) for child in reversed(children))
        return self._lines.text()

    def _enter(self, node: LexborNode, *, is_muted: bool) -> str | None:
        """Begin an element: returns its `display` ("" for the default); None to skip it."""
        name, attributes = node.tag or "", node.attributes
        style = (attributes.get("style") or "").lower()
        display = found[1] if (found := _DISPLAY.search(style)) else ""
        if display == "none" or _INVISIBLE.search(style):
            return None
        if not self._whole and name not in _NEVER_AROUND:
            names = f"{attributes.get('id') or ''} {attributes.get('class') or ''}".lower()
            if _AROUND_NAMES.search(names):
                return None
        if name == "pre" and not is_muted:
            self._lines.add_preformatted(_preformatted(node))
            return None
        if name in _HEADINGS:
            self.headings.append(node)
        self._lines.border(name, display)
        if name == "a" and node.prev is not None and node.prev.tag == "a":
            self._lines.add(" ")  # side by side they are a menu, not one word
        self._lines.add("" if is_muted else _replacement(name, attributes))
        return display


def _content(parser: LexborHTMLParser) -> tuple[str, list[str]]:
    """The text, and the first paragraph of each heading in it."""
    root = parser.body or parser.root
    for whole in (False, True):
        reader = _Reader(parser, whole=whole)
        if root is not None and (text := reader.read(root)):
            headings = reader.headings[:_MOST_HEADINGS]
            return text, [_heading(parser, node) for node in headings]
    return "", []


def _heading(parser: LexborHTMLParser, node: LexborNode) -> str:
    text = _Reader(parser, whole=True).read(node)
    heading = text.partition("\n\n")[0].replace("\n", " ")
    return heading if len(heading) <= _MOST_TITLE_CHARS else ""


def _replacement(name: str, attributes: dict[str, str | None]) -> str:
    """The text that an element without content shows."""
    kind = f"input {attributes.get('type') or ''}".lower() if name == "input" else name
    return attributes.get(_SHOWN_ATTRIBUTES.get(kind, "")) or ""


def _preformatted(node: LexborNode) -> str:
    for line_break in node.css("br"):
        line_break.replace_with("\n")
    return node.text()
