"""`/collections` and `/aliases`: what may be made, named and removed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.errors import StoreFullError
from service.settings import Settings
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import ROWS, encoder_of, error, fill, running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hash_settings(
        tmp_path / "data", allowed_models="/models/ours,intfloat/multilingual-e5-large"
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that no test changes."""
    with running(hash_settings(tmp_path_factory.mktemp("idle"))) as client:
        yield client


def test_main_is_there_from_the_start(idle: TestClient) -> None:
    (main,) = idle.get("/collections").json()["collections"]
    assert (main["name"], main["aliases"], main["settings"]) == ("main", ["default"], {})
    assert main["encoder"]["model"] == "e5-small"
    assert idle.get("/aliases").json() == {"aliases": {"default": "main"}}
    assert idle.get("/collections/default").json() == main


def test_one_is_made_with_its_own_settings(client: TestClient) -> None:
    own = {"encoder": "minilm-l6", "passage_tokens": 128, "rerank_depth": 3}
    answer = client.post("/collections", json={"name": "small", "settings": own})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/collections/small"
    made = answer.json()
    assert made["settings"] == own
    assert (made["encoder"]["model"], made["encoder"]["max_length"]) == ("minilm-l6", 128)
    assert (made["documents"], made["staged"], made["problems"]) == (
        0,
        0,
        ["no calibration fits these models: every hit is uncalibrated"],
    )
    fill(client, "/collections/small")
    assert client.get("/collections/small").json()["documents"] == len(ROWS)
    assert client.get("/collections/main").json()["documents"] == 0
    assert encoder_of(client, "/collections/small/search") == "minilm-l6"


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"encoder": "/etc"}, "settings.encoder"),
        ({"encoder": "../secret"}, "settings.encoder"),
        ({"encoder": "somebody/model"}, "settings.encoder"),
        ({"encoder": "interaction-v1"}, "settings.encoder"),
        ({"encoder": "intfloat/multilingual-e5-large"}, "settings.encoder"),  # needs a download
        (
            {"encoder": "intfloat/multilingual-e5-small"},
            "settings.encoder",
        ),  # the hub's comes first
        ({"reranker": "BAAI/bge-reranker-v2-m3"}, "settings.reranker"),
        ({"reranker": "minilm-l6"}, "settings.reranker"),
        ({"reranker": "/models/other"}, "settings.reranker"),
        ({"passage_tokens": 16}, "settings.passage_overlap"),
        ({"passage_tokens": 1}, "settings.passage_tokens"),
        ({"rerank_depth": "10"}, "settings.rerank_depth"),
        ({"data_dir": "/tmp"}, "settings.data_dir"),
        ({"device": "cuda"}, "settings.device"),
    ],
)
def test_settings_that_a_request_may_not_choose_are_refused(
    idle: TestClient, own: dict[str, Any], field: str
) -> None:
    answer = idle.post("/collections", json={"name": "a", "settings": own})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["field"].startswith(field.partition(".")[0])
    assert len(idle.get("/collections").json()["collections"]) == 1


def test_models_that_the_server_allows_may_be_named(client: TestClient) -> None:
    own = {"encoder": "/models/ours", "reranker": "none"}
    answer = client.post("/collections", json={"name": "a", "settings": own})
    assert answer.json()["encoder"]["model"] == "/models/ours"


@pytest.mark.parametrize("name", ["", "..", "A", "a/b", "a.b", "x" * 65])
def test_bad_names_are_refused(idle: TestClient, name: str) -> None:
    assert error(idle.post("/collections", json={"name": name})) == (422, "invalid_request")


def test_a_model_that_cannot_be_had_leaves_nothing(client: TestClient, settings: Settings) -> None:
    name = "intfloat/multilingual-e5-large"
    answer = client.post("/collections", json={"name": "a", "settings": {"encoder": name}})
    assert error(answer) == (409, "not_available")
    assert client.get("/collections/a").status_code == 404
    assert not (settings.data_dir / "collections").exists()


def test_a_full_disk_is_507_and_leaves_nothing(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFullError("the disk is full")

    index, catalog = "service.engine.making.build_index", "service.store.catalog.Catalog._write"
    for broken in (index, catalog):
        with monkeypatch.context() as patch:
            patch.setattr(broken, full)
            answer = client.post("/collections", json={"name": "a"})
        assert error(answer) == (507, "disk_full")
        assert client.get("/collections/a").status_code == 404
        assert not list((settings.data_dir / "collections").iterdir())
    assert client.post("/collections", json={"name": "a"}).status_code == 201


def test_names_are_taken_once_and_what_an_alias_needs_stays(client: TestClient) -> None:
    assert client.post("/collections", json={"name": "a"}).status_code == 201
    for taken in ("a", "main", "default"):
        assert error(client.post("/collections", json={"name": taken})) == (409, "conflict")
    assert client.put("/aliases/live", json={"collection": "a"}).status_code == 200
    assert error(client.delete("/collections/a")) == (409, "conflict")
    assert error(client.delete("/collections/main")) == (409, "conflict")
    assert error(client.delete("/aliases/default")) == (409, "conflict")
    assert error(client.put("/aliases/live", json={"collection": "no"})) == (404, "not_found")
    assert client.delete("/aliases/live").status_code == 204
    assert error(client.delete("/aliases/live")) == (404, "not_found")
    assert client.delete("/collections/a").status_code == 204
    assert error(client.delete("/collections/a")) == (404, "not_found")
    assert error(client.post("/collections/a/search", json={"query": "x"})) == (404, "not_found")


def test_bad_copies_are_refused(client: TestClient) -> None:
    client.post("/collections", json={"name": "a"})
    path = "/collections/a/copy"
    assert error(client.post(path, json={"from": "a"})) == (409, "conflict")
    assert error(client.post(path, json={"from": "no"})) == (404, "not_found")
    assert error(client.post("/collections/no/copy", json={"from": "a"})) == (404, "not_found")
    assert error(client.post("/collections/default/copy", json={"from": "main"}))[0] == 409
    assert error(client.post(path, json={})) == (422, "invalid_request")


def test_a_server_with_a_key_asks_for_it_everywhere(tmp_path: Path) -> None:
    settings = hash_settings(tmp_path / "data", api_key_hashes="ab" * 32)
    with running(settings) as client:
        for method, path in [
            ("GET", "/collections"),
            ("POST", "/collections"),
            ("GET", "/collections/main"),
            ("DELETE", "/collections/main"),
            ("POST", "/collections/main/copy"),
            ("GET", "/collections/main/snapshot"),
            ("POST", "/collections/a/restore"),
            ("GET", "/aliases"),
            ("PUT", "/aliases/default"),
            ("DELETE", "/aliases/default"),
        ]:
            assert error(client.request(method, path)) == (401, "unauthorized")
