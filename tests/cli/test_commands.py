"""The command as a user runs it, on the real models."""

import contextlib
import hashlib
import io
import json
import sqlite3
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from service.cli import main
from service.cli.options import flag
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS, QUESTIONS


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def secondpass(*arguments: object, **environment: str) -> Done:
    """Run the command in this process: a new one would load torch each time."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["secondpass", *map(str, arguments)])
        for name, value in {"COLUMNS": "200", **environment}.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                main()
                code: object = 0
            except SystemExit as ending:
                code = ending.code
    return Done(code if isinstance(code, int) else 0, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "library.jsonl"
    lines = [
        json.dumps({"id": d.id, "title": d.title, "text": d.text, "metadata": dict(d.metadata)})
        for d in DOCUMENTS
    ]
    lines.insert(3, '{"id": "broken", "text": ')
    lines.insert(5, '{"id": "empty", "text": "  "}')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def filled(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    done = secondpass("ingest", rows, "--data-dir", folder)
    assert done.returncode == 3, done.stderr
    assert f"{len(DOCUMENTS)} added, 0 updated, 0 unchanged, 2 refused" in done.stdout
    assert "library.jsonl:4: " in done.stderr
    assert "library.jsonl:6: text: " in done.stderr
    return folder


def test_ingest_again_costs_nothing(rows: Path, filled: Path) -> None:
    done = secondpass("ingest", rows, "--data-dir", filled)
    assert f"0 added, 0 updated, {len(DOCUMENTS)} unchanged" in done.stdout
    assert "0 passages encoded" in done.stdout


def test_a_file_with_one_id_twice_is_not_stored_again(tmp_path: Path) -> None:
    path, data = tmp_path / "rows.jsonl", ("--data-dir", tmp_path / "data", "--reranker", "none")
    texts = ("Spring tides.", "Neap tides.")
    path.write_text("".join(json.dumps({"id": "a", "text": text}) + "\n" for text in texts))
    assert "1 added, 1 updated" in secondpass("ingest", path, *data).stdout
    again = secondpass("ingest", path, *data).stdout
    assert "0 added, 0 updated, 1 unchanged, 0 refused; 0 passages encoded" in again


def test_search_shows_hits_with_their_confidence(filled: Path) -> None:
    done = secondpass("search", "catch several exceptions in one handler", "--data-dir", filled)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert "Handling several exceptions" in first
    assert "py-except" in first
    assert any(word in first for word in ("high", "medium"))


def test_search_gives_json(filled: Path) -> None:
    done = secondpass("search", "緑茶のいれ方", "--data-dir", filled, "--json", "--top-k", 2)
    answer = json.loads(done.stdout)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    assert answer["hits"][0]["id"] == "ja-ocha"


def test_the_environment_sets_what_no_flag_sets(filled: Path) -> None:
    done = secondpass("search", "tides", "--json", SECONDPASS_DATA_DIR=str(filled))
    assert json.loads(done.stdout)["hits"][0]["id"] == "sea-tides"


def test_another_prefix_refuses_and_says_what_to_run(filled: Path) -> None:
    done = secondpass("search", "tides", "--data-dir", filled, "--query-prefix", "")
    assert done.returncode == 1
    assert "query_prefix" in done.stderr
    assert "secondpass reindex" in done.stderr
    assert "Traceback" not in done.stderr


def count(path: Path, query: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(query).fetchone()[0])


def passages(folder: Path) -> int:
    return count(folder / "store.db", "SELECT count(*) FROM passages")


def passages_with_states(folder: Path) -> int:
    """Those that the reranker has token states for, without another pass."""
    with contextlib.closing(sqlite3.connect(folder / "states.db")) as states:
        kept = {id_ for (id_,) in states.execute("SELECT passage FROM states")}
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as store:
        return sum(id_ in kept for (id_,) in store.execute("SELECT id FROM passages"))


def test_reindex_takes_another_window_and_back(rows: Path, tmp_path: Path) -> None:
    secondpass("ingest", rows, "--data-dir", tmp_path)
    assert passages_with_states(tmp_path) == passages(tmp_path) > 0
    window = ("--passage-tokens", "32", "--passage-overlap", "8")
    done = secondpass("reindex", "--data-dir", tmp_path, *window)
    assert done.returncode == 0, done.stderr
    assert f"{len(DOCUMENTS)} documents encoded again" in done.stdout
    assert passages_with_states(tmp_path) == passages(tmp_path) > len(DOCUMENTS)
    found = secondpass("search", "tides", "--json", "--data-dir", tmp_path, *window)
    hit = json.loads(found.stdout)["hits"][0]
    whole = next(d for d in DOCUMENTS if d.id == hit["id"]).text
    assert hit["text"] == whole[hit["start"] : hit["end"]] != whole
    assert secondpass("search", "tides", "--data-dir", tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--port", "abc"], "--port (SECONDPASS_PORT)"),
        (["serve", "--port", "70000"], "--port (SECONDPASS_PORT)"),
        (
            ["serve", "--confidence-high", "0.3", "--confidence-medium", "0.5"],
            "confidence_medium must not be above",
        ),
        (["ingest", "/nowhere/at/all.jsonl"], "/nowhere/at/all.jsonl"),
        (["reindex", "--encoder", "no such model"], "no such model"),
    ],
)
def test_wrong_arguments_are_one_line_and_no_traceback(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = secondpass(*arguments, SECONDPASS_DATA_DIR=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_search_does_not_make_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = secondpass("search", "tides", "--data-dir", tmp_path / "typo")
    assert done.returncode == 2
    assert "no documents" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_search_of_a_server_that_is_not_there_names_it() -> None:
    done = secondpass("search", "tides", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_ingest_fails_where_every_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a"}\n{"text": "b"}\n')
    done = secondpass("ingest", path, "--data-dir", tmp_path / "data")
    assert done.returncode == 2
    assert "rows.jsonl:1: text: " in done.stderr
    assert "every row was refused" in done.stderr


def test_models_are_listed_and_shown() -> None:
    listed = secondpass("models", "list")
    assert "e5-small" in listed.stdout
    shown = secondpass("models", "show", "e5-small")
    assert "'query: '" in shown.stdout
    assert "MIT" in shown.stdout


def test_similarity_says_same_or_different_and_by_which_threshold() -> None:
    model = ("--pair-model", "minilm-l6", "--pair-threshold", "0.6")
    same = secondpass("similarity", "how do I close a file?", "closing a file", *model)
    assert same.returncode == 0, same.stderr
    assert same.stdout.startswith("same  0.")
    assert "threshold 0.6" in same.stdout
    other = secondpass("similarity", "how do I close a file?", "growing tomatoes", *model)
    assert other.stdout.startswith("different  ")
    for arguments in ((), model[:2]):
        done = secondpass("similarity", "a", "b", *arguments)
        assert done.returncode == 2
        assert "pair" in done.stderr


def test_a_key_and_its_hash_belong_together() -> None:
    done = secondpass("key")
    key, digest = (line.split()[1] for line in done.stdout.splitlines())
    assert hashlib.sha256(key.encode()).hexdigest() == digest
    assert len(key) >= 40


def test_every_setting_is_a_flag_of_serve() -> None:
    text = secondpass("serve", "--help").stdout
    for name in Settings.model_fields:
        assert flag(name) in text, name


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small library as a labelled collection, its questions in variants to have enough."""
    folder = tmp_path_factory.mktemp("labels") / "library"
    folder.mkdir()
    corpus = [{"_id": d.id, "title": d.title, "text": d.text} for d in DOCUMENTS]
    asked = {
        f"q{i}-{n}": (text + "?" * n, document)
        for i, (text, document) in enumerate(QUESTIONS.items())
        for n in range(7)
    }
    queries = [{"_id": id_, "text": text} for id_, (text, _) in asked.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    judgements = [f"{id_}\t{document}\t1" for id_, (_, document) in asked.items()]
    text = "\n".join(["query-id\tcorpus-id\tscore", *judgements]) + "\n"
    (folder / "qrels.tsv").write_text(text, encoding="utf-8")
    return folder


def test_evaluate_writes_both_stages_under_the_folders_name(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = secondpass("evaluate", "retrieval", "--collection", labels, "--json", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())["collections"]["library"]
    for stage in ("retrieval", "reranked"):
        assert {"ndcg@10", "mrr@10", "recall@100", "accuracy@1"} <= set(report[stage])
        assert report[stage]["recall@100"] == 1.0
        assert 0.9 < report[stage]["ndcg@10"] <= 1.0
    assert report["queries"] == 7 * len(QUESTIONS)
    assert report["confidence"]["words"]["high"]["precision"] > 0.5
    assert "| library |" in done.stdout


def test_evaluate_takes_a_sample(labels: Path) -> None:
    done = secondpass("evaluate", "retrieval", "--collection", labels, "--queries", 5)
    assert "| library | 5 | retrieval |" in done.stdout


def test_a_collection_that_is_none_is_told_with_its_file(tmp_path: Path) -> None:
    done = secondpass("evaluate", "retrieval", "--collection", tmp_path)
    assert done.returncode == 2
    assert "corpus.jsonl" in done.stderr


@pytest.mark.parametrize("command", [("key",), ("models", "list"), ("serve",), ("ingest", "x")])
def test_a_misspelt_variable_ends_every_command_but_not_its_help(command: tuple[str, ...]) -> None:
    done = secondpass(*command, SECONDPASS_TIMOUT_MS="1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "SECONDPASS_TIMOUT_MS: did you mean SECONDPASS_TIMEOUT_MS?" in done.stderr
    assert secondpass(*command[:1], "--help", SECONDPASS_TIMOUT_MS="1").returncode == 0
