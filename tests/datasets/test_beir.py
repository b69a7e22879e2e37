"""Labelled collections."""

import json
import shutil
from pathlib import Path

import pytest

from service.datasets import Collection, data_sha256, open_collection
from service.errors import InvalidInputError
from service.types import Document

CORPUS = '{"_id": "d1", "title": "T", "text": "one"}\n{"_id": "d2", "title": "", "text": "two"}\n'
QUERIES = '{"_id": "q1", "text": "which?"}\n{"_id": "q2", "text": "what?", "metadata": {"a": []}}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(CORPUS)
    (folder / "queries.jsonl").write_text(QUERIES)
    (folder / "qrels.tsv").write_text(QRELS)
    return folder


def test_a_folder_is_read_whole(folder: Path) -> None:
    assert open_collection(folder) == Collection(
        "small",
        [Document("d1", "one", "T"), Document("d2", "two")],
        {"q1": "which?", "q2": "what?"},
        {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}},
    )


def test_windows_line_ends_a_mark_and_blank_lines_in_qrels_are_no_matter(folder: Path) -> None:
    expected = open_collection(folder)
    (folder / "qrels.tsv").write_bytes(b"\xef\xbb\xbf" + QRELS.replace("\n", "\r\n").encode())
    assert open_collection(folder) == expected


def test_the_original_place_of_the_judgements_is_known(folder: Path) -> None:
    expected = open_collection(folder)
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    assert open_collection(folder) == expected


def test_a_judgement_may_be_repeated_but_not_contradicted(folder: Path) -> None:
    expected = open_collection(folder)
    (folder / "qrels.tsv").write_text(QRELS + "q1\td1\t2\n")
    assert open_collection(folder) == expected
    (folder / "qrels.tsv").write_text(QRELS + "q1\td1\t1\n")
    with pytest.raises(InvalidInputError, match="line 5: score: contradicts"):
        open_collection(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    for function in (open_collection, data_sha256):
        with pytest.raises(InvalidInputError, match=rf"{name}: there is no such file"):
            function(folder)


@pytest.mark.parametrize(
    ("name", "content", "message", "field"),
    [
        ("corpus.jsonl", CORPUS + "{", r"corpus\.jsonl, line 3: not valid JSON", None),
        ("corpus.jsonl", CORPUS + '{"_id": "d3"}', "line 3: text: is missing", "text"),
        ("corpus.jsonl", CORPUS + CORPUS, "line 3: _id: 'd1' is on line 1 too", "_id"),
        ("corpus.jsonl", "\n", "no documents", None),
        ("queries.jsonl", QUERIES + "[]", r"queries\.jsonl, line 3: not a JSON object", None),
        ("queries.jsonl", QUERIES + '{"text": "x"}', "line 3: _id: must be a string", "_id"),
        ("queries.jsonl", QUERIES + '{"_id": "q3", "text": " "}', "line 3: text:", "text"),
        ("queries.jsonl", QUERIES + QUERIES, "line 3: _id: 'q1' is on line 1 too", "_id"),
        ("queries.jsonl", "", "no queries", None),
        ("qrels.tsv", "q1\td1\t1\n", r"qrels\.tsv, line 1: must be query-id", None),
        ("qrels.tsv", QRELS + "q9\td1\t1", "line 5: query-id: no query .* 'q9'", "query-id"),
        ("qrels.tsv", QRELS + "q1\td9\t1", "line 5: corpus-id: no document .* 'd9'", "corpus-id"),
        ("qrels.tsv", QRELS + "q2\td1\thigh", "line 5: score: 'high' is not an integer", "score"),
        ("qrels.tsv", QRELS + "q2\td1\t0.5", "line 5: score:", "score"),
        ("qrels.tsv", QRELS + "q2 d1 1", "line 5: must have three tab-separated columns", None),
        ("qrels.tsv", QRELS.partition("\n")[0], "no judgements", None),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(
    folder: Path, name: str, content: str, message: str, field: str | None
) -> None:
    (folder / name).write_text(content)
    with pytest.raises(InvalidInputError, match=message) as caught:
        open_collection(folder)
    assert caught.value.field == field


def test_invalid_utf8_in_qrels_is_named_with_its_line(folder: Path) -> None:
    (folder / "qrels.tsv").write_bytes(QRELS.encode() + b"q1\t\xff\t1\n")
    with pytest.raises(InvalidInputError, match="line 5: not valid UTF-8"):
        open_collection(folder)


def test_texts_beyond_the_limit_are_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="line 1: text: has 3 characters"):
        open_collection(folder, max_chars=2)


def test_the_hash_depends_on_each_file_and_not_on_the_folders_name(folder: Path) -> None:
    first = data_sha256(folder)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert data_sha256(copy) == first
    seen = {first}
    extra = json.dumps({"_id": "x", "text": "x"})
    for name, line in (
        ("corpus.jsonl", extra),
        ("queries.jsonl", extra),
        ("qrels.tsv", "q2\td1\t1"),
    ):
        with (copy / name).open("a") as file:
            file.write(line + "\n")
        seen.add(data_sha256(copy))
    assert len(seen) == 4
