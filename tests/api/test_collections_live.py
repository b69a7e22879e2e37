"""Collections change while requests are under way: copied, switched, removed, found broken."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.engine import engine as engine_module
from service.engine.collection_admin import Collections
from service.errors import StoreError
from service.memory import freeze_objects
from service.settings import Settings
from service.store.catalog import Catalog
from service.store.data_folder import DataFolder
from tests.fixtures.hash_models import HashPool, hash_settings
from tests.fixtures.hash_server import ROWS, encoder_of, error, fill, running, until
from tests.fixtures.stores import now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hash_settings(tmp_path / "data")


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


def test_another_model_beside_the_live_one_and_back(client: TestClient, settings: Settings) -> None:
    fill(client)
    before = client.get("/collections/main").json()
    client.post("/collections", json={"name": "next", "settings": {"encoder": "minilm-l6"}})
    answer = client.post("/collections/next/copy", json={"from": "default"})
    assert answer.status_code == 202
    until(lambda: client.get("/collections/next").json()["copy"]["state"] == "done")
    until(lambda: client.get("/collections/next").json()["staged"] == 0)
    there = client.get("/collections/next").json()
    assert (there["documents"], there["copy"]["copied"]) == (len(ROWS), len(ROWS))
    assert client.get("/collections/main").json() == before
    assert encoder_of(client) == "e5-small"
    client.put("/aliases/default", json={"collection": "next"})
    assert encoder_of(client) == "minilm-l6"
    client.put("/aliases/default", json={"collection": "main"})
    assert encoder_of(client) == "e5-small"
    assert client.get("/documents/sea-tides").json()["text"] == ROWS[5]["text"]


def test_copying_again_takes_what_changed_and_mirrors_what_went(client: TestClient) -> None:
    fill(client)
    client.post("/collections", json={"name": "next"})

    def copy(**more: bool) -> dict[str, Any]:
        assert (
            client.post("/collections/next/copy", json={"from": "main", **more}).status_code == 202
        )
        until(lambda: client.get("/collections/next").json()["copy"]["state"] != "running")
        return client.get("/collections/next").json()

    revision = copy()["revision"]
    until(lambda: client.get("/collections/next").json()["staged"] == 0)
    revision = client.get("/collections/next").json()["revision"]
    assert copy()["revision"] == revision, "nothing differs, nothing is written"
    client.put("/documents/sea-tides", json={"text": "The sea comes and goes."})
    client.delete("/documents/py-sort")
    client.put("/collections/next/documents/zz", json={"text": "only here"})
    copy()
    get = client.get
    assert get("/collections/next/documents/sea-tides").json()["text"] == "The sea comes and goes."
    assert get("/collections/next/documents/py-sort").status_code == 200
    assert copy(mirror=True)["copy"]["removed"] == 2
    assert get("/collections/next/documents/py-sort").status_code == 404
    assert get("/collections/next/documents/zz").status_code == 404
    until(lambda: get("/collections/next").json()["staged"] == 0)
    assert get("/collections/next").json()["documents"] == len(ROWS) - 1


def test_removal_waits_for_searches_under_way(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/collections", json={"name": "a"})
    fill(client, "/collections/a")
    retriever = client.app.state.server.engine.collection("a").searcher.retriever
    searching, may_end = threading.Event(), threading.Event()
    find = retriever.find

    def slow(*given: Any, **named: Any) -> Any:
        searching.set()
        may_end.wait(10)
        return find(*given, **named)

    monkeypatch.setattr(retriever, "find", slow)
    answers: dict[str, int] = {}

    def ask(method: str, path: str) -> None:
        body = {"json": {"query": "tides"}} if method == "POST" else {}
        answers[method] = client.request(method, path, **body).status_code

    search = threading.Thread(target=ask, args=("POST", "/collections/a/search"))
    search.start()
    searching.wait(10)
    drop = threading.Thread(target=ask, args=("DELETE", "/collections/a"))
    drop.start()
    until(lambda: client.get("/collections/a").status_code == 404)
    time.sleep(0.1)
    assert answers == {}, "the removal waits"
    may_end.set()
    search.join()
    drop.join()
    assert answers == {"POST": 200, "DELETE": 204}


def test_what_was_removed_is_let_go_of_where_the_collector_leaves_it_alone(
    client: TestClient,
) -> None:
    client.post("/collections", json={"name": "a"})
    fill(client, "/collections/a")
    assert client.post("/collections/a/search", json={"query": "tides"}).json()["hits"]
    live = client.app.state.server.engine.collection("a")
    parts = [weakref.ref(part) for part in (live.searcher, live.indexer, live.ingestor)]
    del live
    freeze_objects()
    try:
        assert client.delete("/collections/a").status_code == 204
        assert [part() for part in parts] == [None] * 3
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_one_that_cannot_be_opened_stops_nothing_but_itself(
    settings: Settings,
) -> None:
    with running(settings) as client:
        client.post("/collections", json={"name": "bad"})
        client.post("/collections", json={"name": "other"})
    (settings.data_dir / "collections" / "bad" / "store.db").write_bytes(b"no database" * 500)
    with running(settings) as again:
        (note,) = [n for n in again.get("/readyz").json()["notes"] if "bad" in n]
        assert note == "bad: not open: its store cannot be used; see the server's log"
        ready = again.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["collection bad"]) == (503, note[5:])
        assert again.post("/search", json={"query": "tides"}).status_code == 200
        assert again.post("/collections/other/search", json={"query": "x"}).status_code == 200
        for answer in (
            again.post("/collections/bad/search", json={"query": "tides"}),
            again.get("/collections/bad/documents/x"),
            again.put("/aliases/default", json={"collection": "bad"}),
            again.get("/collections/bad/snapshot"),
        ):
            assert error(answer) == (503, "not_ready")
            assert "its store cannot be used" in answer.json()["error"]["message"]
        listed = again.get("/collections/bad").json()
        assert (listed["documents"], len(listed["problems"])) == (None, 1)
        assert again.delete("/collections/bad").status_code == 204
        assert again.get("/collections/bad").status_code == 404
        assert again.get("/readyz").status_code == 200


def test_settings_that_no_longer_fit_make_one_collection_unavailable(settings: Settings) -> None:
    with running(settings) as client:
        for name in ("odd", "unknown"):
            client.post("/collections", json={"name": name})
    catalog = Catalog.read(settings.data_dir / "catalog.json")
    own = {"odd": {"passage_tokens": -5}, "unknown": {"colour": "red"}}
    catalog._write(
        collections={
            name: record.model_copy(update={"settings": own.get(name, {})})
            for name, record in catalog.collections.items()
        }
    )
    with running(settings) as again:
        assert again.post("/search", json={"query": "tides"}).status_code == 200
        found = {c["name"]: c["problems"] for c in again.get("/collections").json()["collections"]}
        reason = ["its settings are invalid; see the server's log"]
        assert (found["odd"], found["unknown"]) == (reason, reason)


def test_a_failure_nobody_foresaw_makes_one_collection_unavailable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(settings) as client:
        client.post("/collections", json={"name": "odd"})
    opened = engine_module.open_collection

    def fails(name: str, *given: object) -> object:
        if name == "odd":
            raise RuntimeError("/srv/secret: out of memory")
        return opened(name, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(engine_module, "open_collection", fails)
    with running(settings) as again:
        assert again.post("/search", json={"query": "tides"}).status_code == 200
        assert again.get("/collections/odd").json()["problems"] == [
            "it cannot be opened; see the server's log"
        ]
    assert "/srv/secret" in caplog.text


def test_one_that_cannot_be_read_is_a_problem_in_the_list(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings) as client:
        client.post("/collections", json={"name": "odd"})
        store = client.app.state.server.engine.collection("odd").folder.store

        def fails() -> None:
            raise StoreError("cannot use /srv/store.db: the disk reports an error")

        with monkeypatch.context() as patched:
            patched.setattr(store, "view", fails)
            listed = client.get("/collections")
        assert listed.status_code == 200
        odd = next(c for c in listed.json()["collections"] if c["name"] == "odd")
        assert (odd["documents"], odd["problems"]) == (
            None,
            ["its store cannot be read; see the server's log"],
        )


def test_an_unknown_setting_is_named(settings: Settings) -> None:
    with running(settings) as client:
        wrong = {"name": "a", "settings": {"colour": "red", "passage_tokens": 1}}
        found = client.post("/collections", json=wrong).json()["error"]
        assert {d["field"] for d in found["details"]} == {
            "settings.colour",
            "settings.passage_tokens",
        }
        assert "settings.colour" in found["message"]


def test_a_copy_goes_on_after_a_restart(tmp_path: Path) -> None:
    settings = hash_settings(tmp_path / "data")
    with running(settings) as client:
        fill(client)
        client.post("/collections", json={"name": "next"})
        client.post("/collections/next/copy", json={"from": "main"})
        until(lambda: client.get("/collections/next").json()["copy"]["state"] == "done")
    with DataFolder.open(settings.data_dir) as folder:
        store = folder.collection("next").store
        note = now(store).note("copy")
        assert note is not None
        # As a process leaves it that dies after five documents.
        store.delete([row["id"] for row in ROWS if row["id"] > "hi-chai"])
        store.set_note(
            "copy",
            note.replace('"done"', '"running"').replace(
                '"after":"toan-tich-phan"', '"after":"hi-chai"'
            ),
        )
    with running(settings) as client:
        until(lambda: client.get("/collections/next").json()["copy"]["state"] == "done")
        until(lambda: client.get("/collections/next").json()["documents"] == len(ROWS))


def test_searches_go_on_while_a_model_loads(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, loaded = threading.Event(), threading.Event()
    encoder = HashPool.encoder

    def slow(pool: HashPool, settings: Settings) -> Any:
        loading.set()
        loaded.wait(10)
        return encoder(pool, settings)

    monkeypatch.setattr(HashPool, "encoder", slow)
    making = threading.Thread(
        target=client.post, args=("/collections",), kwargs={"json": {"name": "a"}}
    )
    making.start()
    loading.wait(10)
    assert client.post("/search", json={"query": "tides"}).status_code == 200
    assert client.get("/collections/a").status_code == 404, "not there before it is ready"
    assert error(client.post("/collections", json={"name": "a"})) == (409, "conflict")
    loaded.set()
    making.join()
    assert client.get("/collections/a").status_code == 200


def test_a_request_after_a_switch_sees_it_whatever_is_under_way(client: TestClient) -> None:
    fill(client)
    client.post("/collections", json={"name": "b", "settings": {"encoder": "minilm-l6"}})
    collections: Collections = client.app.state.server.collections

    async def switch_and_ask() -> None:
        for _ in range(20):
            for name, model in (("b", "minilm-l6"), ("main", "e5-small")):
                await asyncio.to_thread(collections.set_alias, "default", name)
                assert await asyncio.to_thread(encoder_of, client) == model

    asyncio.run(switch_and_ask())
