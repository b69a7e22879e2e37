"""CSV with a header."""

import csv
from pathlib import Path

import pytest

from service.collection import Row, read_documents
from service.errors import InvalidInputError
from service.types import Document, Refused


def read(path: Path, content: str | bytes, **options: int) -> list[Row]:
    path = path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_documents(path, **options))


def refused(rows: list[Row]) -> list[tuple[int | None, str | None]]:
    return [(row.line, row.field) for row in rows if isinstance(row, Refused)]


def test_columns_are_found_by_name_and_others_are_metadata(tmp_path: Path) -> None:
    rows = read(tmp_path, "year,text,title,id\n2024,one two,T,a\n,three,,b\n")
    assert rows == [
        Document("a", "one two", "T", {"year": "2024"}),
        Document("b", "three", "", {"year": ""}),
    ]


def test_quoted_fields_hold_commas_quotes_and_line_ends_as_they_are(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,d\r\n')
    assert rows == [Document("1", 'a, "b"\r\nc'), Document("2", "d")]


def test_a_byte_order_mark_and_a_column_without_a_name_are_no_matter(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff,id, text\n0,1,x\n") == [Document("1", "x")]


def test_bad_records_are_refused_by_the_line_that_they_begin_on(tmp_path: Path) -> None:
    content = 'id,text\n1,"two\nlines"\n2,x,y\n,x\n"3"z,x\n4,\n5,fine\n'
    rows = read(tmp_path, content)
    assert refused(rows) == [(4, None), (5, "id"), (6, None), (7, "text")]
    assert rows[-1] == Document("5", "fine")


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\n1,x\n2,"y\n3,z\n')
    assert rows[0] == Document("1", "x")
    assert refused(rows) == [(3, None)]


def test_invalid_utf8_spoils_its_own_record_only(tmp_path: Path) -> None:
    rows = read(tmp_path, b"id,text,place\n1,x,y\n2,x,\xe9\n3,x,y\n")
    assert refused(rows) == [(3, "place")]
    assert len(rows) == 3


def test_texts_beyond_the_csv_modules_own_limit_are_read(tmp_path: Path) -> None:
    text = "word " * 60_000
    assert read(tmp_path, f"id,text\n1,{text}\n") == [Document("1", text)]
    assert csv.field_size_limit() >= len(text)


def test_a_text_that_is_too_long_is_refused_alone(tmp_path: Path) -> None:
    rows = read(tmp_path, "id,text\n1,123456\n2,12345\n", max_chars=5)
    assert refused(rows) == [(2, "text")]
    assert rows[1] == Document("2", "12345")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no id"),
        (b"id;text\n", "no id"),
        (b"id,title\n", "no text"),
        (b"id,text,id\n", "twice"),
        (b"id,text,\xff\n", "UTF-8"),
        (b"id,text," + b"x" * 200_000 + b"\n", "not a CSV header"),
    ],
)
def test_a_header_that_cannot_be_used_is_told_at_once(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    limit = csv.field_size_limit(131_072)
    try:
        with pytest.raises(InvalidInputError, match=rf"rows\.csv, line 1: .*{message}"):
            read_documents(path)
    finally:
        csv.field_size_limit(limit)
