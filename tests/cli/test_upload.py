"""`secondpass ingest --url`, on a server with a stand-in for the encoder."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from tests.cli.test_commands import secondpass
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.serving import bulk_engine, serving


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("data")
    with (
        bulk_engine(path, HashEncoder(), 1_000_000) as engine,
        serving(engine, Settings()) as address,
    ):
        yield address


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Keys that the wire does not have, and rows that only this end, or only the other, refuses."""
    lines = [json.dumps({"_id": d.id, "text": d.text, "author": "x"}) for d in DOCUMENTS]
    lines.insert(1, '{"_id": "broken"')
    lines.insert(2, json.dumps({"_id": "long", "text": "word " * 500}))
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_file_is_sent_stored_and_what_is_refused_is_told(address: str, rows: Path) -> None:
    done = secondpass("ingest", rows, "--url", address)
    assert done.returncode == 3, done.stderr
    assert f"{len(DOCUMENTS)} stored, 2 refused" in done.stdout
    assert "corpus.jsonl:2: not valid JSON" in done.stderr
    assert "refused long: text: has 2500 characters" in done.stderr
    assert f"upload: {len(DOCUMENTS) + 2} of {len(DOCUMENTS) + 2}" in done.stderr
    assert f"ingest: {len(DOCUMENTS) + 1} of {len(DOCUMENTS) + 1}" in done.stderr
    stored = httpx.get(f"{address}/documents/{DOCUMENTS[0].id}").json()
    assert (stored["text"], stored["metadata"]) == (DOCUMENTS[0].text, {"author": "x"})


def test_where_all_is_refused_the_command_fails(address: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"id": "long", "text": "word " * 500}) + "\n", encoding="utf-8")
    done = secondpass("ingest", path, "--url", address)
    assert done.returncode == 2
    assert "every row was refused" in done.stderr


def test_with_a_key_it_is_sent_twice_and_stored_once(address: str, rows: Path) -> None:
    options = ("--url", address, "--collection", "main", "--idempotency-key", "k", "--no-wait")
    first, second = (secondpass("ingest", rows, *options) for _ in range(2))
    assert (first.returncode, first.stdout) == (3, second.stdout)  # a row was refused here
    assert first.stdout.startswith("job ")


def test_what_a_server_answers_is_told_in_one_line(address: str, rows: Path) -> None:
    done = secondpass("ingest", rows, "--url", address, "--collection", "none")
    assert done.returncode == 1
    assert "there is no collection 'none'" in done.stderr
    assert secondpass("ingest", rows, "--url", "nowhere").returncode == 2
    assert secondpass("ingest", rows.with_suffix(".gone"), "--url", address).returncode == 2


def test_a_folder_names_what_it_passes_over(address: str, tmp_path: Path) -> None:
    names = ("a.txt", "b.PNG", "c/d.png", "e.odt", "f.rst", "g.jsonl", "Makefile", ".h.txt")
    names += (".git/i.png", ".git/j.png")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("text", encoding="utf-8")
    done = secondpass("ingest", tmp_path, "--url", address)
    assert done.returncode == 0, done.stderr
    assert "1 stored, 0 refused" in done.stdout
    passed = "passed over: 2 .png, 2 hidden, 1 .jsonl, 1 .odt, 1 .rst, 1 no suffix"
    assert passed in done.stderr
    (tmp_path / "a.txt").unlink()
    done = secondpass("ingest", tmp_path, "--url", address)
    assert done.returncode == 2
    assert "it holds 2 .png, 2 hidden, 1 .jsonl" in done.stderr


@pytest.mark.parametrize("to_server", [True, False])
def test_strict_stores_nothing_where_a_row_is_bad(
    address: str, tmp_path: Path, to_server: bool
) -> None:
    path, data = tmp_path / "rows.jsonl", tmp_path / "data"
    id_ = f"strict-{to_server}"
    good = json.dumps({"id": id_, "text": "one"}) + "\n"
    path.write_text(good + '{"id": "bad"}\n', encoding="utf-8")
    where = ("--url", address) if to_server else ("--data-dir", data)
    done = secondpass("ingest", path, "--strict", *where)
    assert done.returncode == 2
    assert "--strict: 1 rows are bad; nothing was stored" in done.stderr
    assert "rows.jsonl:2: text: is missing" in done.stderr
    assert httpx.get(f"{address}/documents/{id_}").status_code == 404
    assert not data.exists()
    if to_server:
        path.write_text(good, encoding="utf-8")
        assert secondpass("ingest", path, "--strict", *where).returncode == 0
        assert httpx.get(f"{address}/documents/{id_}").status_code == 200
