from typing import Any

import pytest

from service.documents.jsonl import fields_of, parse_document
from service.documents.outline import MAX_HEADING_CHARS, MOST_MARKS
from service.errors import InvalidInputError
from service.types import DocumentLimits, Mark

LIMITS = DocumentLimits()
TEXT = "x" * (MOST_MARKS + 1)


def document_with(outline: Any) -> Any:
    return {"id": "d", "text": TEXT, "title": "T", "metadata": {"a": 1}, "outline": outline}


def test_an_outline_is_read_and_written() -> None:
    marks = [{"start": 0}, {"start": 5, "page": 2, "headings": ["A", "B"]}]
    document = parse_document(document_with(marks), LIMITS)
    assert document.outline == (Mark(0), Mark(5, 2, ("A", "B")))
    assert parse_document(fields_of(document), LIMITS) == document
    assert document.place(4) == Mark(0)
    assert document.place(5).page == 2


def test_only_an_outline_changes_the_hash() -> None:
    plain, empty = parse_document({"id": "d", "text": "x"}, LIMITS), {"id": "d", "text": "x"}
    assert parse_document({**empty, "outline": []}, LIMITS).content_hash == plain.content_hash
    marked = parse_document({**empty, "outline": [{"start": 0, "page": 1}]}, LIMITS)
    assert marked.content_hash != plain.content_hash


@pytest.mark.parametrize(
    ("outline", "field", "reason"),
    [
        ({}, "outline", "list of objects"),
        ([1], "outline[0]", "object with start"),
        ([{"page": 1}], "outline[0]", "object with start"),
        ([{"start": 0, "level": 1}], "outline[0]", "object with start"),
        ([{"start": True}], "outline[0].start", f"from 0 to {MOST_MARKS + 1}"),
        ([{"start": len(TEXT) + 1}], "outline[0].start", f"from 0 to {MOST_MARKS + 1}"),
        ([{"start": 0, "page": 0}], "outline[0].page", "from 1 to 1000000"),
        ([{"start": 0, "page": 1.5}], "outline[0].page", "from 1 to 1000000"),
        ([{"start": 0, "headings": "A"}], "outline[0].headings", "list of strings"),
        ([{"start": 0, "headings": [1]}], "outline[0].headings", "string"),
        ([{"start": 0, "headings": [" "]}], "outline[0].headings", "is empty"),
        ([{"start": 0, "headings": ["x" * (MAX_HEADING_CHARS + 1)]}], "outline[0].headings", "300"),
        ([{"start": 0, "headings": ["x"] * 9}], "outline[0]", "8 are the most"),
        ([{"start": 5}, {"start": 5}], "outline[1]", "after the mark before"),
        ([{"start": n} for n in range(MOST_MARKS + 1)], "outline", "10000 are the most"),
        (
            [{"start": n, "headings": ["x" * 300]} for n in range(1700)],
            "outline",
            "500000 are the most",
        ),
    ],
)
def test_what_is_no_outline_is_refused(outline: Any, field: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as refused:
        parse_document(document_with(outline), LIMITS)
    assert refused.value.field == field
