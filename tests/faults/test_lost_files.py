"""Files of the data folder that go, are replaced or are damaged: noticed, said, never filled up."""

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.engine.job_files import SET_ASIDE
from service.errors import StoreError
from service.settings import Settings
from service.store.state_store import StateStore
from service.types import StoredPassage
from tests.faults.ferries import Serve, answers, fill, only_generation, put, until
from tests.fixtures.hash_models import open_hash_engine

NDJSON = {"content-type": "application/x-ndjson"}
LINE = b'{"id": "new", "text": "a new ferry"}\n'


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """By a copy of itself, as a restored backup would be."""
    copy = path.with_name(f"{path.name}.copy")
    shutil.copyfile(path, copy)
    copy.replace(path)


CHANGES = pytest.mark.parametrize("change", [remove, replace])


def bulk(client: TestClient) -> int:
    return client.post("/documents/bulk", content=LINE, headers=NDJSON).status_code


def checks(client: TestClient, status: int = 503) -> dict[str, str]:
    answer = client.get("/readyz")
    assert answer.status_code == status, answer.text
    return answer.json()["checks"]


@CHANGES
@pytest.mark.parametrize("name", ["store.db", "store.db-wal"])
def test_a_store_that_is_lost_takes_no_more_writes(
    settings: Settings, serve: Serve, change: Callable[[Path], None], name: str
) -> None:
    with serve(settings) as client:
        fill(client)
        right = answers(client)
        assert checks(client, 200)["index"] == "ok"
        change(settings.data_dir / name)
        assert "removed or replaced" in checks(client)["index"]
        assert put(client, "new") == 503
        assert client.delete("/documents/d1").status_code == 503
        assert answers(client) == right, "searches go on in what is open"
        assert str(settings.data_dir) not in client.get("/readyz").text


def test_the_log_says_once_which_file(
    settings: Settings, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(settings) as client, caplog.at_level(logging.ERROR):
        fill(client)
        remove(settings.data_dir / "store.db")
        for _ in range(3):
            checks(client)
    found = [record.message for record in caplog.records if "was removed" in record.message]
    assert found == [f"main: {settings.data_dir / 'store.db'} was removed while it was in use"]


@CHANGES
def test_another_collections_store_is_looked_at_too(
    settings: Settings, serve: Serve, change: Callable[[Path], None]
) -> None:
    with serve(settings) as client:
        client.post("/collections", json={"name": "other"})
        assert "collection other" not in checks(client, 200)
        change(settings.data_dir / "collections" / "other" / "store.db")
        assert "removed or replaced" in checks(client)["collection other"]
        body = {"text": "lost"}
        assert client.put("/collections/other/documents/a", json=body).status_code == 503
        assert put(client, "new") == 201


def test_a_server_is_not_ready_while_a_collection_is_not_open(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        client.post("/collections", json={"name": "other"})
    (settings.data_dir / "collections" / "other" / "store.db").write_bytes(b"no database" * 1000)
    with open_hash_engine(settings) as engine:
        assert engine.checks()["collection other"].startswith("not open: its store cannot be used")
        assert engine.checks()["index"] == "ok"


@CHANGES
def test_jobs_that_are_lost_take_no_more_uploads(
    settings: Settings, serve: Serve, change: Callable[[Path], None]
) -> None:
    with serve(settings) as client:
        assert bulk(client) == 202
        change(settings.data_dir / "jobs.db")
        assert "removed or replaced" in checks(client)["jobs"]
        assert bulk(client) == 503
        assert not list((settings.data_dir / "jobs").glob("*.partial"))
        assert put(client, "other") == 201, "documents do not need it"
    with serve(settings) as client:
        assert bulk(client) == 202


def test_a_catalog_that_is_replaced_is_not_written_over(settings: Settings, serve: Serve) -> None:
    with serve(settings) as client:
        client.put("/aliases/a", json={"collection": "main"})
        replace(settings.data_dir / "catalog.json")
        assert "removed or replaced" in checks(client)["folder"]
        assert client.put("/aliases/b", json={"collection": "main"}).status_code == 503
        assert client.post("/collections", json={"name": "other"}).status_code == 503
        assert client.get("/aliases").json()["aliases"] == {"a": "main", "default": "main"}


def test_a_catalog_that_is_gone_is_written_again_with_all_that_was_in_it(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        client.put("/aliases/a", json={"collection": "main"})
        remove(settings.data_dir / "catalog.json")
        assert "removed or replaced" in checks(client)["folder"]
        assert client.put("/aliases/b", json={"collection": "main"}).status_code == 200
        checks(client, 200)
    with serve(settings) as client:
        assert client.get("/aliases").json()["aliases"].keys() == {"a", "b", "default"}


def test_a_lock_that_is_gone_is_noticed(settings: Settings, serve: Serve) -> None:
    """Another process could take it, and both would write."""
    with serve(settings) as client:
        remove(settings.data_dir / ".lock")
        assert "removed or replaced" in checks(client)["folder"]


@pytest.mark.parametrize("lost", ["a file", "the generation", "all generations"])
def test_an_index_that_is_gone_is_built_again(settings: Settings, serve: Serve, lost: str) -> None:
    with serve(settings) as client:
        fill(client)
        client.app.state.server.engine.collection().indexer.compact()
        right, folder = answers(client), only_generation(settings)
        if lost == "a file":
            remove(folder / "index.faiss")
        else:
            shutil.rmtree(folder if lost == "the generation" else folder.parent)
        assert "it is built again" in checks(client)["index"]
        until(lambda: client.get("/readyz").status_code == 200)
        until(lambda: len(list(folder.parent.iterdir())) == 1)
        assert only_generation(settings) != folder
        assert answers(client) == right
    with serve(settings) as client:
        assert not any("rebuilt" in note for note in client.get("/readyz").json()["notes"])


@CHANGES
def test_token_states_that_are_lost_are_made_again(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    states = StateStore(tmp_path / "states.db", "a reranker")
    first, second = (StoredPassage(n, "d", "", "a text", 0, 6, {}) for n in (1, 2))
    states.put([(first, b"states")])
    change(tmp_path / "states.db")
    with pytest.raises(StoreError):
        states.put([(second, b"states")])
    assert states.losses == 1, "so that all of them are made"
    states.put([(second, b"states")])
    assert states.get([first, second]) == {2: b"states"}
    states.close()


@pytest.mark.parametrize("seed", range(6))
def test_jobs_that_are_damaged_are_set_aside_and_the_server_starts(
    settings: Settings, serve: Serve, seed: int
) -> None:
    with serve(settings) as client:
        fill(client)
        for _ in range(3):
            assert bulk(client) == 202
        bad = b'{"id": "no text"}\n' * 50
        client.post("/documents/bulk", content=bad, headers=NDJSON)
        until(lambda: {j["state"] for j in client.get("/jobs").json()["jobs"]} == {"done"})
        right = answers(client)
        known = client.get("/jobs").json()
    path, draw = settings.data_dir / "jobs.db", random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(20):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with serve(settings) as client:
        assert answers(client) == right
        notes = str(client.get("/readyz").json()["notes"])
        if "the bulk jobs were lost" in notes:
            (aside,) = (settings.data_dir / SET_ASIDE).iterdir()
            assert (aside / "jobs.db").read_bytes() == bytes(content)
            assert client.get("/jobs").json() == {"jobs": []}
        else:  # what was flipped is within a text or a number that may be any, or in no row
            assert len(client.get("/jobs").json()["jobs"]) == len(known["jobs"])
        assert bulk(client) == 202
        assert client.get("/readyz").status_code == 200


def test_a_file_of_jobs_that_is_none_is_set_aside_with_its_uploads(
    settings: Settings, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(settings):
        pass
    (settings.data_dir / "jobs.db").write_bytes(b"\xff" * 8192)
    (settings.data_dir / "jobs" / "1.ndjson").write_bytes(LINE)
    with caplog.at_level(logging.ERROR), serve(settings) as client:
        assert bulk(client) == 202
    (aside,) = (settings.data_dir / SET_ASIDE).iterdir()
    assert {path.name for path in aside.iterdir()} >= {"jobs.db", "jobs"}
    assert (aside / "jobs" / "1.ndjson").read_bytes() == LINE
    assert f"set aside in {aside}" in caplog.text


def test_uploads_without_their_jobs_are_set_aside_and_not_removed(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings):
        pass
    remove(settings.data_dir / "jobs.db")
    (settings.data_dir / "jobs" / "1.ndjson").write_bytes(LINE)
    with serve(settings) as client:
        assert "the bulk jobs were lost" in str(client.get("/readyz").json()["notes"])
    (aside,) = (settings.data_dir / SET_ASIDE).iterdir()
    assert (aside / "jobs" / "1.ndjson").read_bytes() == LINE


def test_a_start_without_the_store_of_an_index_does_not_make_an_empty_one(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        fill(client)
    remove(settings.data_dir / "store.db")
    with pytest.raises(StoreError, match=r"'main' has no store in .*: restore store\.db"):
        open_hash_engine(settings)


def test_a_damaged_main_stops_no_server_whose_default_is_another(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        client.post("/collections", json={"name": "other"})
        client.put("/aliases/default", json={"collection": "other"})
    (settings.data_dir / "store.db").write_bytes(b"no database" * 1000)
    with open_hash_engine(settings) as engine:
        checks = engine.checks()
        assert checks["index"] == "ok"
        assert checks["collection main"].startswith("not open: its store cannot be used")


def test_damage_that_a_search_finds_makes_the_server_not_ready(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        fill(client)
        assert checks(client, 200)["index"] == "ok"
        database = client.app.state.server.engine.collection().folder.store._database
        database.shrink()
        while database._idle:
            database._idle.pop().close()  # with the pages that it has in memory
        path = settings.data_dir / "store.db"
        with path.open("r+b") as file:
            for page in range(1, path.stat().st_size // 4096):
                file.seek(4096 * page)
                file.write(b"\xff" * 4096)
        assert client.post("/search", json={"query": "ferry"}).status_code == 503
        assert "cannot be read" in checks(client)["index"]
