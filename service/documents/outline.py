"""The outline of a document: where its pages and sections begin."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from service.documents.rows import check_filled
from service.errors import InvalidInputError
from service.types import Document, Mark

MOST_MARKS = 10_000
MOST_HEADINGS = 8
"""Over a passage, a table's header row counted."""
MAX_HEADING_CHARS = 300
MAX_OUTLINE_CHARS = 500_000
"""All headings of a document together."""
MOST_PAGES = 1_000_000

_FIELDS = {"start", "page", "headings"}


def marks_from(rows: Sequence[Sequence[Any]]) -> tuple[Mark, ...]:
    """The marks that JSON has as lists, as a store or a snapshot keeps them."""
    return tuple(Mark(start, page, tuple(headings)) for start, page, headings in rows)


def outline_from(value: object) -> tuple[Mark, ...]:
    """The marks that JSON has as objects; only `start` is needed. Raises `InvalidInputError`."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInputError("must be a list of objects", "outline")
    marks = []
    for place, row in enumerate(value):
        field = f"outline[{place}]"
        if not isinstance(row, dict) or not {"start"} <= row.keys() <= _FIELDS:
            raise InvalidInputError("must be an object with start, page and headings", field)
        headings = row.get("headings") or []
        if not isinstance(headings, list):
            raise InvalidInputError("must be a list of strings", f"{field}.headings")
        marks.append(Mark(row["start"], row.get("page"), tuple(headings)))
    return tuple(marks)


def outlined(document: Document, marks: Sequence[Mark]) -> Document:
    """The document with an outline. Raises `InvalidInputError` if the marks do not fit its text."""
    check_outline(marks, len(document.text))
    return replace(document, outline=tuple(marks)) if marks else document


def check_outline(marks: Sequence[Mark], length: int) -> None:
    """Raise `InvalidInputError` unless the marks fit a text of that many characters."""
    if len(marks) > MOST_MARKS:
        raise InvalidInputError(f"has {len(marks)} marks; {MOST_MARKS} are the most", "outline")
    for place, mark in enumerate(marks):
        field = f"outline[{place}]"
        _check_whole(mark.start, f"{field}.start", 0, length)
        if mark.page is not None:
            _check_whole(mark.page, f"{field}.page", 1, MOST_PAGES)
        if len(mark.headings) > MOST_HEADINGS:
            raise InvalidInputError(
                f"has {len(mark.headings)} headings; {MOST_HEADINGS} are the most", field
            )
        for heading in mark.headings:
            check_filled(heading, f"{field}.headings", MAX_HEADING_CHARS)
    for place, (before, mark) in enumerate(pairwise(marks), 1):
        if before.start >= mark.start:
            raise InvalidInputError("must begin after the mark before it", f"outline[{place}]")
    chars = sum(len(heading) for mark in marks for heading in mark.headings)
    if chars > MAX_OUTLINE_CHARS:
        raise InvalidInputError(
            f"has {chars} characters in headings; {MAX_OUTLINE_CHARS} are the most", "outline"
        )


def _check_whole(value: object, field: str, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInputError(f"must be a whole number from {least} to {most}", field)
