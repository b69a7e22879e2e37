"""Markdown: the text as it is, its headings, pages and tables as the outline.

The office formats come here too, once they are Markdown.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import yaml

from service.documents.charset import decoded
from service.documents.file_text import FileText
from service.documents.rows import check_metadata_value
from service.errors import InvalidInputError
from service.types import Mark, MetadataValue

# Possessive (`*+`), so that a line takes time in proportion to its length.
_ATX_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*)|$)")
_CLOSING_MARKS = re.compile(r"(^|(?<!\s)\s++)#+$")
_SETEXT_TEXT = re.compile(r" {0,3}[^\s>*+|#-]")  # no quotation, list, table or code
_SETEXT_LINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(```+(?=[^`]*$)|~~~+)")
_DELIMITER = r"[ \t]*+:?-++:?[ \t]*+"
_TABLE_LINE = re.compile(rf" {{0,3}}\|?{_DELIMITER}(\|{_DELIMITER})*+\|?[ \t]*+")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?(?:\n|\Z)", re.S | re.M)
_MOST_FRONT_MATTER = 100_000


def read_markdown(content: bytes) -> FileText:
    """Title, text, outline, and the front matter as metadata. Raises `UnicodeDecodeError`."""
    text = decoded(content)
    front = _FRONT_MATTER.match(text) if len(text[:3].strip()) == 3 else None
    metadata = _front_matter(front[1]) if front else None
    if front and metadata is not None:
        text = text[front.end() :]
    return from_markdown(text, metadata or {})


def from_markdown(
    text: str, metadata: Mapping[str, MetadataValue] | None = None, pages: Sequence[int] = ()
) -> FileText:
    """The title is that of the metadata, else the first heading. `pages`: where they begin."""
    metadata = dict(metadata or {})
    named = metadata.get("title")
    outline = list(_outline(text, pages))
    found = next((mark.headings[-1] for mark, is_heading in outline if is_heading), "")
    title = named.strip() if isinstance(named, str) and named.strip() else found
    if title == named:
        del metadata["title"]
    # Models read the title before each passage: the headings need not repeat it.
    marks = [mark._replace(headings=_without(title, mark.headings)) for mark, _ in outline]
    return FileText(title, text, _changes(marks), metadata)


def _without(title: str, headings: tuple[str, ...]) -> tuple[str, ...]:
    return headings[1:] if headings[:1] == (title,) else headings


def _changes(marks: list[Mark]) -> list[Mark]:
    """The marks that say anything new; of several at one place, the last."""
    by_start = {mark.start: mark for mark in marks}
    found: list[Mark] = []
    for mark in by_start.values():
        before = found[-1] if found else Mark(0)
        if (mark.page, mark.headings) != (before.page, before.headings):
            found.append(mark)
    return found


def _outline(text: str, pages: Sequence[int]) -> Iterator[tuple[Mark, bool]]:
    """A mark for each heading (True), page, and end of a table's head or of a table (False)."""
    outline, start = _Outline(), 0
    for whole in text.splitlines(keepends=True):
        at, start = start, start + len(whole)
        if outline.pages < len(pages) and pages[outline.pages] <= at:
            yield outline.begin_page(at), False
        line = whole.rstrip("\r\n")
        if outline.in_code(line):
            continue
        if mark := outline.table(line, at, start):
            yield mark, False
        if mark := outline.heading(line, at):
            yield mark, True


class _Outline:
    """Where the lines of a text are: page, headings, code, table."""

    def __init__(self) -> None:
        self.pages = 0
        self._path: list[tuple[int, str]] = []
        self._fence = ""
        self._before, self._before_at = "", 0
        self._in_table = self._headless = False

    def begin_page(self, at: int) -> Mark:
        self.pages += 1
        self._path, self._in_table, self._before = [], False, ""
        return self._mark(at)

    def in_code(self, line: str) -> bool:
        """Whether the line is of fenced code."""
        mark = _FENCE.match(line)
        if self._fence:
            if mark and mark[1].startswith(self._fence) and not line.strip(" \t`~"):
                self._fence = ""
            return True
        if mark:
            self._fence, self._before = mark[1], ""
        return mark is not None

    def table(self, line: str, at: int, end: int) -> Mark | None:
        """A mark at the first row below a table's head, and at the end of a table."""
        if self._in_table and not line.strip():
            self._in_table = False
            return self._mark(at)
        head = ""
        if self._headless:
            self._headless, head = False, _cells(line)
        elif "|" in self._before and "|" in line and _TABLE_LINE.fullmatch(line):
            self._in_table, head = True, _cells(self._before)
            self._headless = not head.strip(" |")  # of Word: the first row is the head
        return self._mark(end, head) if head.strip(" |") else None

    def heading(self, line: str, at: int) -> Mark | None:
        """A mark if the line is a heading, or underlines one."""
        level, title, begins = 0, "", at
        if found := _ATX_HEADING.match(line):
            level, title = len(found[1]), _CLOSING_MARKS.sub("", (found[2] or "").strip())
        elif _SETEXT_TEXT.match(self._before) and (under := _SETEXT_LINE.fullmatch(line)):
            level, title, begins = (
                1 if "=" in under[1] else 2,
                self._before.strip(),
                self._before_at,
            )
        self._before, self._before_at = "" if level else line, at
        if not title:
            return None
        self._path = [*(one for one in self._path if one[0] < level), (level, title)]
        return self._mark(begins)

    def _mark(self, at: int, head: str = "") -> Mark:
        headings = tuple(title for _, title in self._path)
        return Mark(at, self.pages or None, (*headings, head) if head else headings)


def _cells(line: str) -> str:
    return " | ".join(cell.strip() for cell in line.strip().strip("|").split("|"))


def _front_matter(text: str) -> dict[str, MetadataValue] | None:
    """The fields of YAML between two lines of `---`; None if it is none."""
    if len(text) > _MOST_FRONT_MATTER or "&" in text:  # anchors can grow without end
        return None
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # such as a date that is none
        return None
    return dict(flattened(found)) if isinstance(found, dict) else None


def flattened(value: dict[Any, Any], before: str = "") -> Iterator[tuple[str, MetadataValue]]:
    """Fields that metadata may have: those of an inner object are called `outer.inner`.

    What no metadata may have is left out.
    """
    for key, field in value.items():
        name = f"{before}{key}"
        if isinstance(field, dict):
            yield from flattened(field, f"{name}.")
            continue
        own: object = field
        if isinstance(field, date | datetime):
            own = field.isoformat()
        elif isinstance(field, list):
            own = [str(one) for one in field if one is not None and not isinstance(one, dict)]
        try:
            yield name, check_metadata_value(own, name)
        except InvalidInputError:
            continue
