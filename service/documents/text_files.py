"""Documents from files of Markdown, plain text and HTML, one a file."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from service.documents.charset import decoded
from service.documents.html import read_html
from service.documents.lines import shown
from service.documents.rows import Row, make_document
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused

_MARKDOWN = (".md",)
_HTML = (".html", ".htm")
SUFFIXES = (*_MARKDOWN, ".txt", *_HTML)

_BYTES_PER_CHARACTER = 4
_MARKUP_FACTOR = 4
"""Bytes of a page per byte of its text, above which the page is not even parsed."""

_ATX_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_SETEXT_TEXT = re.compile(r" {0,3}[^\s>*+|#-]")  # no quotation, list, table or code
_SETEXT_LINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(```+(?=[^`]*$)|~~~+)")


NO_SUFFIX = "no suffix"
HIDDEN = "hidden"
"""Kind of a file or folder whose name begins with a dot."""


def find_texts(folder: Path) -> list[Path]:
    """All such files under `folder`, by relative path. Names that begin with a dot are left out.

    Folders that are not entered, because they are links or cannot be listed, are named too.
    """
    return _find(folder)[0]


def passed_over(folder: Path) -> Counter[str]:
    """How many files under `folder` are not read, by their suffix, `NO_SUFFIX` or `HIDDEN`.

    A hidden folder counts as one.
    """
    return _find(folder)[1]


def _find(folder: Path) -> tuple[list[Path], Counter[str]]:
    found: list[Path] = []
    others: Counter[str] = Counter()

    def add_unlisted(error: OSError) -> None:
        found.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=add_unlisted):
        others.update(HIDDEN for name in folders if name.startswith("."))
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in folders if (path := Path(parent, name)).is_symlink()]
        found += [Path(parent, name) for name in names if is_text(name)]
        others.update(_kind(name) for name in names if not is_text(name))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix()), others


def _kind(name: str) -> str:
    return HIDDEN if name.startswith(".") else Path(name).suffix.lower() or NO_SUFFIX


def is_text(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_texts(folder: Path, limits: DocumentLimits) -> Iterator[Row]:
    """One row a file; its id is the path from `folder`, with forward slashes.

    A link is read where it leads to a file within `folder`. Other links, and folders that cannot be
    listed, are refused.
    """
    root = Path(os.path.realpath(folder))
    for path in find_texts(folder):
        if path.is_dir():
            yield Refused(shown(path), None, None, "a folder that is a link or cannot be listed")
        elif path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
            yield Refused(shown(path), None, None, "a link that leaves the folder")
        else:
            yield read_text(path, path.relative_to(folder).as_posix(), limits)


def read_text(path: Path, id_: str, limits: DocumentLimits) -> Row:
    """The row of one file."""
    try:
        return _document(path, id_, limits)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Refused(shown(path), line, "text", f"not valid {error.encoding.upper()}")
    except InvalidInputError as error:
        return Refused(shown(path), None, error.field, str(error))
    except OSError as error:
        return Refused(shown(path), None, None, f"cannot be read: {error.strerror}")


def _document(path: Path, id_: str, limits: DocumentLimits) -> Document:
    if not path.is_file() and path.exists():
        raise InvalidInputError("not a regular file")
    is_html = path.suffix.lower() in _HTML
    max_bytes = _BYTES_PER_CHARACTER * limits.text * (_MARKUP_FACTOR if is_html else 1)
    if path.stat().st_size > max_bytes:
        raise InvalidInputError(
            f"the file has {path.stat().st_size} bytes; {max_bytes} are the most that are read",
            "text",
        )
    content = path.read_bytes()
    if is_html:
        title, text = read_html(content)
    else:
        text = decoded(content)
        title = _first_heading(text) if path.suffix.lower() in _MARKDOWN else ""
    # Its author knew no limit of ours: a long title is cut, and the document stays.
    return make_document(id_, text, title[: limits.title], {}, limits)


def _first_heading(text: str) -> str:
    """The first heading of Markdown, outside front matter and fenced code; empty for none."""
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
        if heading := _ATX_HEADING.match(line):
            title = _without_closing_marks(heading[1].strip())
            if title:
                return title
        if _SETEXT_TEXT.match(previous) and _SETEXT_LINE.fullmatch(line):
            return previous.strip()
        previous = line
    return ""


def _without_closing_marks(heading: str) -> str:
    """`Title ##` -> `Title`; but `C#` stays."""
    rest = heading.rstrip("#")
    return heading if rest and not rest[-1].isspace() else rest.rstrip()
