"""What a reader makes of a file, and the documents that come of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from service.documents.outline import (
    MAX_HEADING_CHARS,
    MAX_OUTLINE_CHARS,
    MOST_HEADINGS,
    MOST_MARKS,
)
from service.documents.rows import make_document
from service.types import WHOLE, Document, DocumentLimits, Mark, MetadataValue


class FileText(NamedTuple):
    """The text of a file, its pages and headings, and what it says of itself."""

    title: str
    text: str
    outline: Sequence[Mark] = ()
    metadata: Mapping[str, MetadataValue] = {}


def documents_of(
    id_: str, file: FileText, facts: Mapping[str, MetadataValue], limits: DocumentLimits
) -> Iterator[Document]:
    """One document, or several for a long text, each cut where a part of the text begins.

    The second one's id is `id#2`. `facts` are those of the file; they come before what the file
    says of itself. Raises `InvalidInputError` for what no document may have.
    """
    # The author did not know our limit: a long title is cut, and the document is kept.
    title, metadata = file.title[: limits.title], {**file.metadata, **facts}
    start, part = 0, 1
    while start < len(file.text) or part == 1:
        end = _end(file, start, limits.text)
        text = file.text[start:end]
        if text.strip() or part == 1:
            name = id_ if part == 1 else f"{id_}#{part}"
            own = metadata if part == 1 else metadata | {"part": part}
            document = make_document(name, text, title, own, limits)
            # Without text the title becomes the text, which has no outline.
            marks = _marks(file.outline, start, end) if text.strip() else ()
            yield replace(document, outline=marks)
            part += 1
        start = end


def _end(file: FileText, start: int, most: int) -> int:
    """Where a document that begins at `start` ends: before a part, else a line, else anywhere."""
    if len(file.text) - start <= most:
        return len(file.text)
    last = start + most
    borders = takewhile(lambda at: at <= last, (mark.start for mark in file.outline))
    half = start + most // 2
    border = max((at for at in borders if at > half), default=0)
    return border or file.text.rfind("\n", half, last) + 1 or last


def _marks(outline: Sequence[Mark], start: int, end: int) -> tuple[Mark, ...]:
    """Those of a part of the text, within the limits; beyond them, no place is told."""
    before = [mark for mark in outline if mark.start <= start][-1:]
    inside = [mark for mark in outline if start < mark.start < end]
    marks: list[Mark] = []
    chars = 0
    for mark in before + inside:
        headings = tuple(heading[:MAX_HEADING_CHARS] for heading in mark.headings[-MOST_HEADINGS:])
        own = Mark(max(0, mark.start - start), mark.page, headings)
        chars += sum(map(len, headings))
        if len(marks) == MOST_MARKS - 1 or chars > MAX_OUTLINE_CHARS:
            marks.append(Mark(own.start))
            break
        marks.append(own)
    return () if marks == [WHOLE] else tuple(marks)
