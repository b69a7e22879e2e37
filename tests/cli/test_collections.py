"""The commands on labelled data, as a user runs them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from service.datasets import TrainingRow, open_collection, read_training_rows, write_beir
from tests.cli.test_commands import secondpass
from tests.fixtures.articles import articles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_beir(tmp_path / "articles", articles())
    return tmp_path / "articles"


def test_check_names_every_problem_and_ends_with_1(folder: Path) -> None:
    done = secondpass("dataset", "check", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no problems\n")
    with (folder / "qrels.tsv").open("a") as file:
        file.write("q-none\ttide-1\t1\nq-tide\ttide-1\ty\n")
    done = secondpass("dataset", "check", folder)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{folder}/qrels.tsv, line 10: query-id: no query has the id 'q-none'",
        f"{folder}/qrels.tsv, line 11: score: 'y' is not an integer",
    ]
    assert done.stderr == "2 problems\n"


def test_the_former_name_of_the_command_still_works(folder: Path) -> None:
    assert secondpass("collection", "check", folder).stderr == "no problems\n"
    shown = secondpass("--help").stdout
    assert "dataset" in shown
    assert "collection " not in shown


def test_describe_shows_figures_as_a_table_or_as_json(folder: Path) -> None:
    done = secondpass("dataset", "describe", folder)
    assert "queries judged" in done.stdout
    figures = json.loads(secondpass("dataset", "describe", folder, "--json").stdout)
    assert (figures["documents"], figures["queries"]) == (10, 8)


def test_documents_without_text_are_warnings(folder: Path, tmp_path: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "471", "title": "", "text": ""}\n')
    with (folder / "qrels.tsv").open("a") as file:
        file.write("q-tide\t471\t1\n")
    warning = "warning: .*1 document without text, which cannot be found: '471'"
    for command in (("check",), ("convert", "--out", tmp_path / "rows.jsonl")):
        done = secondpass("dataset", command[0], folder, *command[1:])
        assert done.returncode == 0, done.stderr
        assert re.search(warning, done.stderr)


def test_split_writes_a_folder_a_part(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    arguments = ("--train", "0.5", "--validation", "0", "--test", "0.5", "--article", "title")
    done = secondpass("dataset", "split", folder, "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    queries = {p.name: open_collection(p).queries for p in sorted(out.iterdir())}
    assert queries.keys() == {"train", "test"}
    assert sum(map(len, queries.values())) == 8
    again = secondpass("dataset", "split", folder, "--out", out, *arguments)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_levels_are_written_as_grades_or_as_texts(folder: Path, tmp_path: Path) -> None:
    done = secondpass(
        "dataset", "levels", folder, "--article", "title", "--out", tmp_path / "graded"
    )
    assert "7 queries, 1 left out" in done.stdout
    grades = open_collection(tmp_path / "graded").qrels["q-hop"]
    assert sorted(grades.values()) == [0, 0, 0, 0, 1, 1, 2]
    out = tmp_path / "levels.jsonl"
    done = secondpass("dataset", "levels", tmp_path / "graded", "--out", out)
    assert "7 queries, 0 left out" in done.stdout
    assert len(out.read_text().splitlines()) == 7


def test_convert_goes_to_rows_and_back(folder: Path, tmp_path: Path) -> None:
    rows, back = tmp_path / "rows.jsonl", tmp_path / "back"
    assert "8 rows" in secondpass("dataset", "convert", folder, "--out", rows).stdout
    assert "8 documents, 8 queries" in secondpass("dataset", "convert", rows, "--out", back).stdout
    assert sorted(open_collection(back).queries.values()) == sorted(articles().queries.values())


def test_mine_writes_rows_and_a_report(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    options = ("--strategy", "bm25", "--negatives", "1")
    done = secondpass("mine", "--collection", folder, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert "fit, but the row was full" in done.stdout
    rows = read_training_rows(out)
    assert all(isinstance(row, TrainingRow) and row.negatives for row in rows)
    report = json.loads((tmp_path / "rows.jsonl.report.json").read_text())
    assert report["strategy"] == "bm25"
    assert report["encoder"] is None
    assert report["choice"]["margin"] is None
    (found,) = report["collections"]
    assert found["rows"] == len(rows) == int(done.stdout.splitlines()[-1].split()[-2])
    first = out.read_bytes()
    secondpass("mine", "--collection", folder, "--out", out, *options)
    assert out.read_bytes() == first


def test_mine_by_the_real_encoder_keeps_its_vectors(folder: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "rows.jsonl", tmp_path / "work"
    arguments = ("mine", "--collection", folder, "--out", out, "--work", work, "--strategy", "both")
    done = secondpass(*arguments, "--negative-queries", "--no-siblings", "--article", "title")
    assert done.returncode == 0, done.stderr
    rows = {row.query: row for row in read_training_rows(out)}
    assert len(rows) > 4
    asked = set(articles().queries.values())
    for row in rows.values():
        assert len(row.negative_queries) == len(row.negatives) > 0
        assert asked.issuperset(row.negative_queries)
        if row.positives[0].startswith("緑茶"):
            assert not any(text.startswith("緑茶") for text in row.negatives)
    sizes = [np.load(path).shape for path in work.rglob("*.npy")]
    assert sorted(sizes) == [(8, 384), (10, 384)]
    found = json.loads((tmp_path / "rows.jsonl.report.json").read_text())["collections"][0]
    assert 0.5 < found["score_of_negatives"]["max"] < found["score_of_positives"]["max"] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--no-siblings",), "--no-siblings needs --article"),
        (("--strategy", "smart"), "say what names a document's article with --article"),
        (("--strategy", "smart", "--negative-queries"), "smart writes no neg_q"),
        (("--rank-min", "5", "--rank-max", "4"), "ranks 5 to 4 are no window"),
        (("--strategy", "bm25", "--max-score", "0"), "no negative was found"),
    ],
)
def test_mine_refuses_what_does_not_go_together(
    folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = secondpass("mine", "--collection", folder, "--out", tmp_path / "r.jsonl", *options)
    assert done.returncode == 2
    assert message in done.stderr
