"""Damaged files, over HTTP: found, said in the log and in `/readyz`, mended; no answer changes."""

import logging
import random
import sqlite3
from pathlib import Path

import pytest

from service.errors import StoreError
from service.settings import Settings
from tests.faults.ferries import Serve, answers, fill, only_generation, put
from tests.fixtures.hash_models import hash_settings, open_hash_engine

FILES = ["index.faiss", "passages.npy", "manifest.json"]
FLIPS = 6


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("hnsw_threshold", [1000, 10], ids=["flat", "hnsw"])
def test_a_flipped_bit_in_any_file_is_found_told_and_mended(
    tmp_path: Path, serve: Serve, hnsw_threshold: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = hash_settings(tmp_path / "data", hnsw_threshold=hnsw_threshold)
    with serve(settings) as client:
        fill(client)
        client.app.state.server.engine.collection().indexer.compact()
        right = answers(client)
    draw = random.Random(hnsw_threshold)
    for file in FILES * FLIPS:
        folder = only_generation(settings)
        flip(folder / file, draw)
        caplog.clear()
        with caplog.at_level(logging.WARNING), serve(settings) as client:
            assert answers(client) == right
            ready = client.get("/readyz").json()
        assert any("it was damaged" in note for note in ready["notes"]), ready
        assert str(settings.data_dir) not in str(ready), "the log says which file"
        assert f"{folder / file} has SHA-256" in caplog.text
        assert only_generation(settings) != folder
    with serve(settings) as client:
        assert answers(client) == right
        assert not any("rebuilt" in note for note in client.get("/readyz").json()["notes"])


@pytest.mark.parametrize("where", ["cut", "gone", "empty", "folder gone"])
def test_a_file_that_is_cut_or_gone_is_found_and_mended(
    settings: Settings, serve: Serve, where: str
) -> None:
    with serve(settings) as client:
        fill(client)
        client.app.state.server.engine.collection().indexer.compact()
        right = answers(client)
    for file in FILES:
        folder = only_generation(settings)
        path = folder / file
        if where == "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif where == "empty":
            path.write_bytes(b"")
        else:
            for each in [path] if where == "gone" else list(folder.iterdir()):
                each.unlink()
        with serve(settings) as client:
            assert answers(client) == right
            assert any("rebuilt" in note for note in client.get("/readyz").json()["notes"])


def test_a_flipped_bit_while_the_server_runs_changes_no_answer(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        fill(client)
        client.app.state.server.engine.collection().indexer.compact()
        right = answers(client)
        for file in FILES:
            flip(only_generation(settings) / file, random.Random(1))
        assert answers(client) == right
        assert put(client, "new") == 201
        client.delete("/documents/new")
        client.app.state.server.engine.collection().indexer.compact()
        assert answers(client) == right
    with serve(settings) as client:
        assert answers(client) == right
        assert not any("rebuilt" in note for note in client.get("/readyz").json()["notes"])


def test_a_damaged_database_page_is_told_and_does_not_crash(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        fill(client)
    path = settings.data_dir / "store.db"
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.db: it is damaged"):
        open_hash_engine(settings)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(path).execute("SELECT * FROM documents")


def test_a_new_folder_has_nothing_to_note(settings: Settings, serve: Serve) -> None:
    with serve(settings) as client:
        assert not any("rebuilt" in note for note in client.get("/readyz").json()["notes"])
