"""JSON lines: what is taken and what is refused, with line and field."""

import json
import tracemalloc
from pathlib import Path

import pytest

from service.datasets import read_documents
from service.documents.rows import Row
from service.types import Document, DocumentLimits, Metadata, Refused


def read(path: Path, content: str | bytes, **options: DocumentLimits) -> list[Row]:
    path = path / "rows.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_documents(path, **options))


def refused(rows: list[Row]) -> list[tuple[int | None, str | None]]:
    return [(row.line, row.field) for row in rows if isinstance(row, Refused)]


def test_a_full_row_becomes_a_document(tmp_path: Path) -> None:
    text = "Nếu y = f(u)\nvà u = g(x)"
    metadata: Metadata = {"grade": 11, "tags": ["a", "b"], "ok": True, "none": None, "share": 0.5}
    row = {"id": "a/1", "title": "Đạo hàm", "text": text, "metadata": metadata}
    assert read(tmp_path, json.dumps(row)) == [Document("a/1", text, "Đạo hàm", metadata)]


def test_underscore_id_is_taken_and_wins(tmp_path: Path) -> None:
    rows = read(tmp_path, '{"_id": "1", "text": "x"}\n{"_id": "2", "id": "other", "text": "y"}')
    assert rows == [Document("1", "x"), Document("2", "y", metadata={"id": "other"})]


def test_an_integer_id_becomes_a_string(tmp_path: Path) -> None:
    assert read(tmp_path, '{"id": 17, "text": "x"}') == [Document("17", "x")]
    assert read(tmp_path, '{"id": 17.0, "text": "x"}') == [Document("17", "x")]


def test_other_keys_become_metadata(tmp_path: Path) -> None:
    rows = read(tmp_path, '{"id": "1", "text": "x", "year": 2024, "metadata": {"lang": "vi"}}')
    assert rows == [Document("1", "x", metadata={"lang": "vi", "year": 2024})]


def test_a_row_with_a_title_alone_has_it_as_text(tmp_path: Path) -> None:
    assert read(tmp_path, '{"id": "1", "title": "Only this", "text": " "}') == [
        Document("1", "Only this")
    ]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"text": "x"}', "id"),
        ('{"id": "", "text": "x"}', "id"),
        ('{"id": " ", "text": "x"}', "id"),
        ('{"_id": null, "text": "x"}', "_id"),
        ('{"id": true, "text": "x"}', "id"),
        ('{"id": 1.5, "text": "x"}', "id"),
        ('{"id": "a\\u0000b", "text": "x"}', "id"),
        ('{"id": "a\\nb", "text": "x"}', "id"),
        ('{"id": "\\ud800", "text": "x"}', "id"),
        (f'{{"id": "{"i" * 513}", "text": "x"}}', "id"),
        ('{"id": "1"}', "text"),
        ('{"id": "1", "text": ""}', "text"),
        ('{"id": "1", "text": " \\n"}', "text"),
        ('{"id": "1", "text": null}', "text"),
        ('{"id": "1", "text": ["x"]}', "text"),
        ('{"id": "1", "text": "\\udc00"}', "text"),
        ('{"id": "1", "text": "123456"}', "text"),
        ('{"id": "1", "text": "x", "title": 5}', "title"),
        ('{"id": "1", "text": "x", "metadata": []}', "metadata"),
        ('{"id": "1", "text": "x", "metadata": {"a": {}}}', "metadata.a"),
        ('{"id": "1", "text": "x", "metadata": {"a": [1]}}', "metadata.a"),
        ('{"id": "1", "text": "x", "metadata": {"a": ["\\ud800"]}}', "metadata.a"),
        ('{"id": "1", "text": "x", "metadata": {"a": NaN}}', "metadata.a"),
        ('{"id": "1", "text": "x", "metadata": {"a": 1e999}}', "metadata.a"),
        ('{"id": "1", "text": "x", "metadata": {"a": 9223372036854775808}}', "metadata.a"),
        ('{"id": "1", "text": "x", "metadata": {"\\ud800": 1}}', "metadata"),
        ('{"id": "1", "text": "x", "nested": {"a": 1}}', "nested"),
        ('{"id": "1", "text": "x", "a": 1, "metadata": {"a": 1}}', "a"),
        ('{"id": "1", "text": "x", "text": "y"}', "text"),
        ('{"id": "1", "text": "x", "metadata": {"a": 1, "b": 2, "a": 1}}', "metadata.a"),
        ('["id", "1"]', None),
        ('{"id": "1", "text": "x"', None),
        (f'{{"id": {"9" * 5000}, "text": "x"}}', None),
        ("[" * 100_000, None),
    ],
)
def test_a_bad_row_is_refused_with_its_field_and_the_rest_goes_on(
    tmp_path: Path, row: str, field: str | None
) -> None:
    rows = read(tmp_path, f'{row}\n{{"id": "ok", "text": "fine"}}', limits=DocumentLimits(5))
    assert refused(rows) == [(1, field)]
    assert rows[1] == Document("ok", "fine")
    assert isinstance(rows[0], Refused)
    assert rows[0].source.endswith("rows.jsonl")
    assert rows[0].reason


def test_a_line_that_ends_too_early_is_told_with_the_column_of_its_end(tmp_path: Path) -> None:
    (row,) = read(tmp_path, '{"id": "1", "text": "a"\n')
    assert isinstance(row, Refused)
    assert "at column 24" in row.reason


def test_limits_are_inclusive(tmp_path: Path) -> None:
    rows = read(tmp_path, json.dumps({"id": "i" * 512, "text": "12345"}), limits=DocumentLimits(5))
    assert refused(rows) == []


def test_invalid_utf8_spoils_its_own_line_only(tmp_path: Path) -> None:
    good = b'{"id": "1", "text": "x"}\n'
    rows = read(tmp_path, good + b'{"id": "2", "text": "\xff"}\n' + good)
    assert refused(rows) == [(2, None)]
    assert len(rows) == 3


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_are_no_matter(tmp_path: Path) -> None:
    rows = read(tmp_path, '\ufeff{"id": "1", "text": "x"}\r\n\r\n  \n{"id": "2"}\r\n')
    assert rows[0] == Document("1", "x")
    assert refused(rows) == [(4, "text")]


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    assert read(tmp_path, '{"id": "1", "text": "a\u2028b\x85c"}') == [
        Document("1", "a\u2028b\x85c")
    ]


def test_a_line_without_end_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        for _ in range(30):
            file.write(b"x" * 1_000_000)
        file.write(b'\n{"id": "1", "text": "x"}\n')
    tracemalloc.start()
    rows = list(read_documents(path, DocumentLimits(1000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused(rows) == [(1, None)]
    assert rows[1] == Document("1", "x")
    assert peak < 8_000_000


def test_many_rows_take_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"id": number, "text": "word " * 100}) + "\n")
    tracemalloc.start()
    count = sum(isinstance(row, Document) for row in read_documents(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 1_000_000
