"""Rows, triplets and labelled pairs."""

import json
from pathlib import Path

import pytest

from service.datasets import (
    LabelledPair,
    TrainingRow,
    find_problems,
    read_labelled_pairs,
    read_training_rows,
    rows_kind,
    write_training_rows,
)
from service.errors import InvalidInputError

QUERY = "đạo hàm của một tích"
RIGHT = "Đạo hàm của một tích bằng u'v cộng với uv'."
WRONG = "Tích phân từng phần dựa trên công thức đạo hàm của một tích."


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        TrainingRow(QUERY, (RIGHT,)),
        TrainingRow("緑茶とは", ("茶葉を蒸す。", "色が残る。"), (WRONG,), ("tích phân từng phần",)),
    ]
    path = tmp_path / "rows.jsonl"
    assert write_training_rows(path, rows) == 2
    assert read_training_rows(path) == rows
    assert list(tmp_path.iterdir()) == [path]


def test_what_stood_there_stays_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_training_rows(path, [TrainingRow(QUERY, (RIGHT,))])
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_training_rows(path, [TrainingRow(QUERY, (RIGHT,)), TrainingRow("\ud800", ("x",))])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_triplets_are_rows_with_one_positive(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "triplets.jsonl",
        {"anchor": QUERY, "positive": RIGHT, "negative": WRONG},
        {"query": QUERY, "positive": RIGHT},
    )
    assert read_training_rows(path) == [
        TrainingRow(QUERY, (RIGHT,), (WRONG,)),
        TrainingRow(QUERY, (RIGHT,)),
    ]


def test_pairs_of_query_and_passage_are_known(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"query": QUERY, "passage": RIGHT, "label": 1})
    assert read_labelled_pairs(path) == [LabelledPair(QUERY, RIGHT, 1)]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"query": "a", "pos": ["b"]}, "rows"),
        ({"anchor": "a", "positive": "b"}, "triplets"),
        ({"sentence1": "a", "sentence2": "b", "label": 0}, "pairs"),
    ],
)
def test_the_first_line_says_what_a_file_holds(tmp_path: Path, row: object, kind: str) -> None:
    path = lines(tmp_path / "x.jsonl", row)
    assert rows_kind(path) == kind
    wrong_reader = read_training_rows if kind == "pairs" else read_labelled_pairs
    with pytest.raises(InvalidInputError, match=f"x.jsonl: holds .*{kind.removesuffix('s')}"):
        wrong_reader(path)


@pytest.mark.parametrize(
    ("good", "bad", "message", "field"),
    [
        ({"query": "a", "pos": ["b"]}, {"query": "a", "pos": []}, "at least one text", "pos"),
        ({"query": "a", "pos": ["b"]}, {"query": "a", "pos": "b"}, "list of strings", "pos"),
        ({"query": "a", "pos": ["b"]}, {"query": " ", "pos": ["b"]}, "is empty", "query"),
        ({"query": "a", "pos": ["b"]}, {"pos": ["b"]}, "is missing", "query"),
        (
            {"query": "a", "pos": ["b"]},
            {"query": "a", "pos": ["b"], "neg": ["c", 3]},
            "must be a string",
            "neg[1]",
        ),
        (
            {"query": "a", "pos": ["b"]},
            {"query": "a", "pos": ["b"], "neg": ["c", "d"], "neg_q": ["e"]},
            "1 queries for 2 negatives",
            "neg_q",
        ),
        ({"anchor": "a", "positive": "b"}, {"anchor": "a"}, "is missing", "positive"),
        ({"anchor": "a", "positive": "b"}, {"positive": "b"}, "is missing", "anchor"),
        (
            {"sentence1": "a", "sentence2": "b", "label": 1},
            {"sentence1": "a", "sentence2": "b", "label": 0.5},
            "must be 0 or 1",
            "label",
        ),
        (
            {"sentence1": "a", "sentence2": "b", "label": 1},
            {"sentence1": "a", "sentence2": "b", "label": True},
            "must be 0 or 1",
            "label",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(
    tmp_path: Path, good: dict[str, object], bad: dict[str, object], message: str, field: str
) -> None:
    path = lines(tmp_path / "x.jsonl", good, bad, bad)
    read = read_labelled_pairs if "label" in good else read_training_rows
    with pytest.raises(InvalidInputError, match=message) as caught:
        read(path)
    assert f"x.jsonl, line 2: {field}: " in str(caught.value)
    assert caught.value.field == field
    assert [(p.line, p.field) for p in find_problems(path)] == [(2, field), (3, field)]


def test_files_of_no_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no such file"):
        read_training_rows(tmp_path / "none.jsonl")
    with pytest.raises(InvalidInputError, match="first line is no row"):
        read_training_rows(lines(tmp_path / "other.jsonl", {"text": "a"}))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InvalidInputError, match=r"empty\.jsonl: no rows"):
        rows_kind(tmp_path / "empty.jsonl")
