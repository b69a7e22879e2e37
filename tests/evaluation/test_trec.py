from pathlib import Path

import pytest

from service.errors import InvalidInputError, StoreError
from service.evaluation.systems import read_run, write_run

RUN = {
    "toan-1": [("toan-dao-ham", 0.91234567891), ("toan-tich-phan", 0.5), ("đề-thi", 0.5)],
    "q2": [("緑茶", -1.25)],
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "mine.trec"
    write_run(path, RUN, "mine")
    assert read_run(path) == RUN
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "q2 Q0 緑茶 1 -1.25 mine"


def test_scores_that_rise_are_replaced_so_that_the_order_holds(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, {"q": [("a", -3.0), ("b", 0.9), ("c", 0.8)]}, "two-stages")
    assert read_run(path)["q"] == [("a", 1.0), ("b", 0.5), ("c", 1 / 3)]


def test_order_is_by_score_then_rank_then_document(tmp_path: Path) -> None:
    path = tmp_path / "run"
    rows = ["q Q0 d 4 1.0 t", "q Q0 c 2 2.0 t", "q Q0 b 2 2.0 t", "q Q0 a 1 0.5 t"]
    path.write_text("\n".join(rows), encoding="utf-8")
    assert [document for document, _ in read_run(path)["q"]] == ["b", "c", "d", "a"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q Q0 a 1 0.5", "line 2: has 5 columns, not 6"),
        ("q Q0 b one 0.5 t", "line 2: rank: 'one' is not an integer"),
        ("q Q0 b 1 nan t", "line 2: score: 'nan' is not a finite number"),
        ("q Q0 a 2 0.4 t", "line 2: document: 'a' occurs twice for 'q'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "run"
    path.write_text(f"q Q0 a 1 0.5 t\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=said):
        read_run(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no-such-run"):
        read_run(tmp_path / "no-such-run")


def test_an_id_with_a_space_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, RUN, "mine")
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="white space"):
        write_run(path, {"q": [("a b", 1.0)]}, "mine")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        write_run(tmp_path / "file" / "run", RUN, "mine")
