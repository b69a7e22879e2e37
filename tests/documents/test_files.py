"""Which reader a path gets, and how many rows to expect."""

import json
import os
from pathlib import Path

import pytest

from service.datasets import count_rows, read_documents
from service.errors import InvalidInputError
from service.types import Document
from tests.fixtures.file_rows import plain


@pytest.mark.parametrize("function", [read_documents, count_rows])
def test_a_path_that_is_not_there_is_refused_at_once(tmp_path: Path, function: object) -> None:
    assert callable(function)
    with pytest.raises(InvalidInputError, match="no such file"):
        function(tmp_path / "none.jsonl")


@pytest.mark.parametrize("function", [read_documents, count_rows])
def test_a_file_of_another_kind_is_refused_at_once(tmp_path: Path, function: object) -> None:
    assert callable(function)
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match=r"only files named \.jsonl"):
        function(path)


def test_a_folder_without_documents_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"neither corpus\.jsonl nor any file"):
        read_documents(tmp_path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InvalidInputError, match="not a regular file"):
        read_documents(tmp_path / "pipe.jsonl")


def test_a_path_longer_than_the_system_allows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_documents(tmp_path / ("x" * 300 + ".jsonl"))


def test_a_folder_named_like_a_file_is_read_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "docs.jsonl"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    assert [plain(row) for row in read_documents(folder)] == [Document("a.txt", "one")]


def test_a_beir_folder_gives_its_corpus(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "7", "title": "T", "text": "one"}\n')
    (tmp_path / "readme.md").write_text("# not a document")
    assert list(read_documents(tmp_path)) == [Document("7", "one", "T")]
    assert count_rows(tmp_path) == 1


@pytest.mark.parametrize(
    ("content", "rows"), [("", 0), ("{}", 1), ("{}\n", 1), ("{}\n{}", 2), ("{}\n{}\n", 2)]
)
def test_lines_are_counted_with_and_without_a_last_line_feed(
    tmp_path: Path, content: str, rows: int
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    assert count_rows(path) == rows


def test_the_header_of_csv_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n1,one\n2,two\n")
    assert count_rows(path) == 2


def test_files_of_a_folder_are_counted(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "c.HTML", "d.png"):
        (tmp_path / name).write_text("text")
    assert count_rows(tmp_path) == 3
    assert count_rows(tmp_path / "a.md") == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_of_rows_with_one_id_only_the_last_is_given(tmp_path: Path, suffix: str) -> None:
    rows = [("a", "first"), ("b", "one"), ("", "refused"), ("a", "second"), ("c", "two")]
    lines = ["id,text", *(f"{id_},{text}" for id_, text in rows)]
    if suffix == ".jsonl":
        lines = [json.dumps({"id": id_, "text": text}) for id_, text in rows]
    path = tmp_path / f"rows{suffix}"
    path.write_text("\n".join(lines))
    given = list(read_documents(path, last_only=True))
    assert [row for row in given if isinstance(row, Document)] == [
        Document("b", "one"),
        Document("a", "second"),
        Document("c", "two"),
    ]
    assert len(given) == 4
    assert len(list(read_documents(path))) == 5
