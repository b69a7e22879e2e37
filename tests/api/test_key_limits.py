"""Keys that come, change, go and are pressed hard, and what the log has of them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.auth import LOOK_EVERY_S, Keys, caller_of, require_keys_or_loopback
from service.errors import InvalidInputError, StoreError
from service.settings import Settings
from service.store.key_file import KeyFile, hash_key
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import fill, look_at_keys, running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hash_settings(tmp_path)


@pytest.fixture
def file(settings: Settings) -> KeyFile:
    return KeyFile.of(settings)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self) -> None:
        self.now += LOOK_EVERY_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sent(*headers: tuple[str, str]) -> dict[str, Any]:
    raw = [(name.encode(), value.encode("utf-8")) for name, value in headers]
    return {"type": "http", "headers": raw, "client": ("10.0.0.1", 1)}


def test_a_running_server_notices_keys_within_a_second(
    settings: Settings, file: KeyFile, clock: Clock
) -> None:
    keys = Keys(settings, clock)
    assert not keys.required
    first = file.create("web", scopes=("search",))
    assert keys.find(first) is None
    clock.passes()
    assert keys.required
    record = keys.find(first)
    assert record is not None
    second = file.create("web", scopes=("search",))  # rotation: both live
    clock.passes()
    assert keys.find(first)
    assert keys.find(second)
    file.revoke(record.id)
    assert keys.may_stay(record)
    clock.passes()
    assert not keys.may_stay(record)
    assert keys.find(first) is None
    assert keys.find(second)


def test_a_server_that_had_keys_does_not_open_when_they_are_gone(
    settings: Settings, file: KeyFile, clock: Clock
) -> None:
    key = file.create("web", scopes=("search",))
    keys = Keys(settings, clock)
    file.revoke("web")
    clock.passes()
    assert keys.required
    file.path.unlink()
    clock.passes()
    assert keys.required
    assert keys.find(key) is None
    assert not Keys(settings).required


def test_a_file_that_breaks_leaves_the_keys_and_stops_a_start(
    settings: Settings, file: KeyFile, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key = file.create("web", scopes=("search",))
    keys = Keys(settings, clock)
    file.path.write_text(f'{{"keys": ["{key}"]}}', encoding="utf-8")
    for _ in range(3):
        clock.passes()
        assert keys.find(key)
    assert caplog.text.count("the API keys stay as they were") == 1
    assert key not in caplog.text
    with pytest.raises(StoreError, match="secondpass keys create"):
        Keys(settings)


def test_a_file_of_keys_is_enough_to_listen_for_other_machines(
    settings: Settings, file: KeyFile
) -> None:
    outside = settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(InvalidInputError, match="secondpass keys create"):
        require_keys_or_loopback(outside)
    file.create("web", scopes=("search",))
    require_keys_or_loopback(outside)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([("authorization", "Bearer {key}")], True),
        ([("authorization", "bearer   {key} ")], True),
        ([("x-api-key", "{key}")], True),
        ([("x-api-key", "{key}"), ("authorization", "Basic dXNlcg==")], True),
        ([("x-api-key", "{key}"), ("authorization", "Bearer of-a-proxy")], True),
        ([("x-api-key", "wrong"), ("authorization", "Bearer {key}")], False),
        ([("x-api-key", "{key}"), ("x-api-key", "wrong")], False),
        ([("authorization", "Bearer wrong"), ("authorization", "Bearer {key}")], False),
        ([("authorization", "{key}")], False),
        ([("authorization", "Basic {key}")], False),
        ([("x-api-key", "Bearer {key}")], False),
        ([("x-api-key", "{key}, {key}")], False),
        ([("x-api-key", "{key}\x00")], False),
        ([("x-api-key", "ｓｐ_{key}")], False),
        ([("x-api-key", "sp_{key}")], False),
        ([("cookie", "X-API-Key={key}")], False),
    ],
)
def test_which_headers_are_a_key(
    settings: Settings, file: KeyFile, headers: list[tuple[str, str]], known: bool
) -> None:
    key = file.create("web", scopes=("search",))
    given = [(name, value.format(key=key)) for name, value in headers]
    caller = caller_of(sent(*given), Keys(settings))
    assert (caller.client == "web") == known
    assert (caller.key is not None) == known


@pytest.fixture
def client(settings: Settings, file: KeyFile) -> Iterator[TestClient]:
    with running(settings) as client:
        fill(client)
        yield client


def test_a_key_that_asks_too_fast_is_told_when_to_come_back(
    client: TestClient, file: KeyFile
) -> None:
    limits = {"rate": 0.05, "burst": 2}
    hasty = {"X-API-Key": file.create("hasty", scopes=("search",), limits=limits)}
    twin = {"X-API-Key": file.create("hasty", scopes=("search",), limits=limits)}
    calm = {"Authorization": f"Bearer {file.create('calm', scopes=('search',))}"}
    look_at_keys(client)
    ask = {"json": {"query": "tides"}}
    found = [client.post("/search", headers=hasty, **ask) for _ in range(3)]
    assert [answer.status_code for answer in found] == [200, 200, 429]
    error = found[-1].json()["error"]
    assert error["code"] == "overloaded"
    assert "0.05 requests a second" in error["message"]
    assert 1 <= int(found[-1].headers["Retry-After"]) <= 20
    compatible = client.post("/rerank", headers=hasty, json={"query": "a", "texts": ["b"]})
    assert compatible.status_code == 429
    assert "0.05 requests a second" in compatible.json()["detail"]
    # A second key of the name is no second bucket.
    assert client.post("/search", headers=twin, **ask).status_code == 429
    assert client.post("/search", headers=calm, **ask).status_code == 200


def test_each_search_of_a_batch_counts(client: TestClient, file: KeyFile) -> None:
    key = file.create("web", scopes=("search",), limits={"rate": 0.1, "burst": 5})
    look_at_keys(client)
    queries = [{"query": f"tides {n}"} for n in range(9)]
    headers = {"X-API-Key": key}
    assert client.post("/search/batch", headers=headers, json={"queries": queries}).is_success
    refused = client.post("/search", headers=headers, json={"query": "tides"})
    assert refused.status_code == 429
    assert 20 <= int(refused.headers["Retry-After"]) <= 50


def test_neither_keys_nor_queries_nor_filters_are_logged(
    client: TestClient, file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = file.create("web", scopes=("search", "write"), filters={"tenant": "f1lter"})
    look_at_keys(client)
    for header, value in (("X-API-Key", key), ("Authorization", f"Bearer {key}")):
        for path, body in (
            ("/search", {"query": "s3cret"}),
            ("/search", {"query": ["s3cret"]}),
            ("/documents", {"documents": [{"id": "s3cret", "text": "s3cret"}]}),
            (f"/documents/delete?{key}=1", {"ids": ["s3cret"]}),
        ):
            answer = client.post(path, headers={header: value}, json=body)
            assert "f1lter" not in answer.text
    client.post("/search", headers={"X-API-Key": f"{key}x"}, json={"query": "s3cret"})
    ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("service"))
    assert ours
    for word in (key, hash_key(key), "s3cret", "f1lter"):
        assert word not in ours


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json"])
def test_metrics_and_docs_can_be_closed(settings: Settings, file: KeyFile, path: str) -> None:
    closed = settings.model_copy(update={"open_metrics": False, "open_docs": False})
    keys = {scope: file.create("web", scopes=(scope,)) for scope in ("search", "metrics")}
    with running(closed) as client:
        assert client.get(path).status_code == 401
        found = {
            scope: client.get(path, headers={"X-API-Key": key}).status_code
            for scope, key in keys.items()
        }
        some = file.create("web", scopes=("search", "metrics"), filters={"tenant": "a"})
        look_at_keys(client)
        filtered = client.get(path, headers={"X-API-Key": some}).status_code
        assert client.get("/livez").status_code == 200
    is_metrics = path == "/metrics"
    assert found == {"search": 403 if is_metrics else 200, "metrics": 200}
    assert filtered == (403 if is_metrics else 200)


def test_closed_means_closed_without_keys_too(settings: Settings) -> None:
    closed = settings.model_copy(update={"open_metrics": False})
    with running(closed) as client:
        assert client.get("/metrics").status_code == 401
        assert client.post("/search", json={"query": "tides"}).status_code == 200


def test_probes_show_figures_only_to_who_may_see_everything(
    client: TestClient, file: KeyFile
) -> None:
    assert client.get("/readyz").json()["documents"] is not None
    keys = {
        "all": file.create("web", scopes=("search",)),
        "some": file.create("web", scopes=("search",), filters={"tenant": "a"}),
    }
    look_at_keys(client)
    shown = {
        name: client.get("/readyz", headers={"X-API-Key": key}).json()["documents"] is not None
        for name, key in {**keys, "none": "wrong"}.items()
    }
    assert shown == {"all": True, "some": False, "none": False}
