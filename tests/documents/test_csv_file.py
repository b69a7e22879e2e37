"""CSV with a header."""

import csv
from pathlib import Path

import pytest

from service.datasets import read_documents
from service.documents import csv_file
from service.documents.csv_file import CSV, CsvFormat, read_csv
from service.documents.rows import Row
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused


def read(path: Path, content: str | bytes, **options: DocumentLimits) -> list[Row]:
    path = path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_documents(path, **options))


def refused(rows: list[Row]) -> list[tuple[int | None, str | None]]:
    return [(row.line, row.field) for row in rows if isinstance(row, Refused)]


def test_columns_are_found_by_name_and_others_are_metadata(tmp_path: Path) -> None:
    rows = read(tmp_path, "year,text,title,id\n2024,one two,T,a\n,three,,b\n")
    assert rows == [
        Document("a", "one two", "T", {"year": 2024}),
        Document("b", "three"),
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


def test_an_open_quote_costs_its_own_row_only(tmp_path: Path) -> None:
    good = [f"u{n},text {n}" for n in range(200) if n != 5]
    rows = read(tmp_path, "\n".join(["id,text", *good[:5], 'u5,"an open quote', *good[5:], ""]))
    assert refused(rows) == [(7, None)]
    stored = [row for row in rows if isinstance(row, Document)]
    assert stored == [Document(f"u{n}", f"text {n}") for n in range(200) if n != 5]
    assert isinstance(rows[5], Refused)  # in its place


def test_rows_behind_an_open_quote_may_have_quotes_too(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\n1,"open\n2,x\n3,"a, ""b""\nc"\n4,"open\n5,"y"\n6,z\n')
    assert refused(rows) == [(2, None), (6, None)]
    stored = [row for row in rows if isinstance(row, Document)]
    assert stored == [
        Document("2", "x"),
        Document("3", 'a, "b"\nc'),
        Document("5", "y"),
        Document("6", "z"),
    ]


def test_lines_that_are_lost_are_named_and_counted(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\n1,"one\ntwo "said" it\nthree, four",\nlast"\n2,x\n')
    assert refused(rows) == [(2, None)]
    assert isinstance(rows[0], Refused)
    assert "lines 2 to 5 are left out (4 lines)" in rows[0].reason
    assert rows[1:] == [Document("2", "x")]


def test_a_stray_quote_behind_an_open_one_costs_no_good_row(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\n1,"open\na"b,"x\n2,good\n3,good"\n4,fine\n')
    stored = [row for row in rows if isinstance(row, Document)]
    assert [document.id for document in stored] == ["2", "3", "4"]


def test_an_open_quote_in_the_last_row_is_told(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\n1,x\n2,"y\nz')
    assert rows[0] == Document("1", "x")
    assert refused(rows) == [(3, None)]


def test_a_record_of_several_lines_with_a_field_too_many_names_them(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,text\n1,"a\nb",c\n2,x\n')
    assert isinstance(rows[0], Refused)
    assert "lines 2 to 3" in rows[0].reason
    assert rows[1:] == [Document("2", "x")]


def test_a_file_of_nothing_but_open_quotes_is_read_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "_MOST_CHARS_READ_AGAIN", 10_000)
    # Each line, taken as a beginning, leaves a quote open to the end of the file.
    rows = read(tmp_path, "id,text\n" + 'a","b\n' * 20_000 + "1,x\n")
    assert refused(rows) == [(2, None)]
    assert isinstance(rows[0], Refused)
    assert "lines 2 to 20002 are left out" in rows[0].reason


def test_cells_are_trimmed_and_a_blank_one_is_left_out(tmp_path: Path) -> None:
    rows = read(tmp_path, "id,text,title,kind,place\n 1 , a b , T , animal,\n2,c,,\u00a0, \n")
    assert rows == [Document("1", " a b ", "T", {"kind": "animal"}), Document("2", "c")]


def test_invalid_utf8_spoils_its_own_record_only(tmp_path: Path) -> None:
    rows = read(tmp_path, b"id,text,place\n1,x,y\n2,x,\xe9\n3,x,y\n")
    assert refused(rows) == [(3, "place")]
    assert len(rows) == 3


def test_texts_beyond_the_csv_modules_own_limit_are_read(tmp_path: Path) -> None:
    text = "word " * 60_000
    assert read(tmp_path, f"id,text\n1,{text}\n") == [Document("1", text)]
    assert csv.field_size_limit() >= len(text)


def test_a_text_that_is_too_long_is_refused_alone(tmp_path: Path) -> None:
    rows = read(tmp_path, "id,text\n1,123456\n2,12345\n", limits=DocumentLimits(5))
    assert refused(rows) == [(2, "text")]
    assert rows[1] == Document("2", "12345")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no id"),
        (b"id;text\n", "no id"),
        (b"id,title\n", "no text"),
        (b"id,text,id\n", "twice"),
        (b"id,text,\xff\n", "not valid UTF-8"),
        ("id,text\n".encode("utf-16"), "is UTF-16"),
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


def rows_of(path: Path, content: str, form: CsvFormat = CSV) -> list[Document]:
    path.write_text(content, encoding="utf-8")
    rows = [row for _, row in read_csv(path, DocumentLimits(), form)]
    assert all(isinstance(row, Document) for row in rows), rows
    return rows  # type: ignore[return-value]


def test_columns_of_numbers_and_booleans_are_typed(tmp_path: Path) -> None:
    first, second = rows_of(
        tmp_path / "a.csv",
        "id,text,price,stock,zip,sold,mixed,big\n"
        "1,one,9.5,3,007,true,1,99999999999999999999\n"
        "2,two,-1e2,,123,FALSE,x,1\n",
    )
    assert first.metadata == {
        "price": 9.5, "stock": 3, "zip": "007", "sold": True, "mixed": "1", "big": 1e20,
    }  # fmt: skip
    assert second.metadata == {
        "price": -100.0, "zip": "123", "sold": False, "mixed": "x", "big": 1,
    }  # fmt: skip
    assert isinstance(first.metadata["stock"], int)


def test_other_columns_and_separators_are_named(tmp_path: Path) -> None:
    form = CsvFormat("sku", "description", ";")
    (row,) = rows_of(tmp_path / "a.csv", 'sku;description;id\nA1;"one; two";7\n', form)
    assert row == Document("A1", "one; two", metadata={"id": 7})
    (row,) = rows_of(tmp_path / "a.tsv", "id\ttext\n1\tone, two\n")
    assert row == Document("1", "one, two")


def test_a_broken_record_with_semicolons_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id;text\n1;one\n2;"open\n3;three\n4;four\n', encoding="utf-8")
    rows = [row for _, row in read_csv(path, DocumentLimits(), CsvFormat(delimiter=";"))]
    assert [row.id for row in rows if isinstance(row, Document)] == ["1", "3", "4"]
    assert sum(isinstance(row, Refused) for row in rows) == 1


def test_a_missing_column_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sku;text\n1;one\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"--id-column.*--delimiter"):
        read_csv(path, DocumentLimits())
