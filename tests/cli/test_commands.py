"""The command as a user runs it: another process, real models."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.config_docs import flag
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS


def secondpass(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


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
    assert done.returncode == 0, done.stderr
    assert f"{len(DOCUMENTS)} added, 0 updated, 0 unchanged, 2 refused" in done.stdout
    assert "library.jsonl:4: " in done.stderr
    assert "library.jsonl:6: text: " in done.stderr
    return folder


def test_ingest_again_costs_nothing(rows: Path, filled: Path) -> None:
    done = secondpass("ingest", rows, "--data-dir", filled)
    assert f"0 added, 0 updated, {len(DOCUMENTS)} unchanged" in done.stdout
    assert "0 passages encoded" in done.stdout


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


def test_reindex_takes_another_window_and_back(rows: Path, tmp_path: Path) -> None:
    secondpass("ingest", rows, "--data-dir", tmp_path)
    window = ("--passage-tokens", "32", "--passage-overlap", "8")
    done = secondpass("reindex", "--data-dir", tmp_path, *window)
    assert done.returncode == 0, done.stderr
    assert f"{len(DOCUMENTS)} documents encoded anew" in done.stdout
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
        (["serve", "--confidence-high", "0.3"], "confidence_medium must not be above"),
        (["ingest", "/nowhere/at/all.jsonl"], "/nowhere/at/all.jsonl"),
        (["search", "x", "--encoder", "no such model"], "no such model"),
    ],
)
def test_wrong_arguments_are_one_line_and_no_traceback(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = secondpass(*arguments, SECONDPASS_DATA_DIR=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_models_are_listed_and_shown() -> None:
    listed = secondpass("models", "list")
    assert "e5-small" in listed.stdout
    shown = secondpass("models", "show", "e5-small")
    assert "'query: '" in shown.stdout
    assert "MIT" in shown.stdout


def test_a_key_and_its_hash_belong_together() -> None:
    done = secondpass("key")
    key, digest = (line.split()[1] for line in done.stdout.splitlines())
    assert hashlib.sha256(key.encode()).hexdigest() == digest
    assert len(key) >= 40


def test_every_setting_is_a_flag_of_serve() -> None:
    text = secondpass("serve", "--help").stdout
    for name in Settings.model_fields:
        assert flag(name) in text, name
