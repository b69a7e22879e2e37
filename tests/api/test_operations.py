import re
import threading
from typing import NoReturn
from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.api.metrics import MOST_COLLECTIONS, Metrics
from service.confidence import drift
from service.engine.collection_admin import Collections
from service.engine.engine import Engine
from service.errors import IndexMismatchError, StoreError
from service.settings import Settings
from service.store.key_file import hash_key
from service.store.sqlite_view import SqliteView
from service.types import Counts
from tests.fixtures.library import DOCUMENTS


def test_probes_of_a_ready_server(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    for path in ("/readyz", "/healthz"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.json()["status"] == "ready"
        assert answer.json()["documents"] == len(DOCUMENTS)


def test_while_loading_it_lives_but_is_not_ready(settings: Settings) -> None:
    go = threading.Event()

    def load() -> NoReturn:
        go.wait(10)
        raise StoreError("let the test end")

    with TestClient(create_app(settings, load)) as client:
        assert client.get("/livez").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"] == {"models": "loading", "index": "loading"}
        search = client.post("/search", json={"query": "tides"})
        assert search.status_code == 503
        assert search.json()["error"]["code"] == "not_ready"
        assert int(search.headers["Retry-After"]) >= 1
        go.set()


def test_a_start_that_fails_late_closes_the_engine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Mock()
    monkeypatch.setattr(Collections, "resume", Mock(side_effect=OSError("no thread")))
    with TestClient(create_app(settings, lambda: engine)) as client:
        assert client.get("/readyz").status_code == 503
    engine.close.assert_called_once()


def test_a_failed_start_is_told_to_who_runs_it_but_not_to_clients(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    def load():
        raise IndexMismatchError("weights_sha256 differs; run: secondpass reindex")

    with TestClient(create_app(settings, load, told.set)) as client:
        assert told.wait(5)
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "reindex" not in answer.text
    assert "secondpass reindex" in caplog.text


def test_metrics_count_requests_and_stages(client: TestClient) -> None:
    client.post("/search", json={"query": "tides"})
    client.get("/made-up-path")
    text = client.get("/metrics").text
    labels = 'collection="main",method="POST",path="/search",status="200"'
    assert f"secondpass_requests_total{{{labels}}}" in text
    assert 'path="unmatched",status="404"' in text
    assert "made-up-path" not in text
    assert 'secondpass_stage_seconds_count{stage="encode"}' in text
    for state, count in {"indexed": len(DOCUMENTS), "staged": 0, "failed": 0}.items():
        line = f'secondpass_documents{{collection="main",state="{state}"}} {float(count)}'
        assert line in text
    assert 'secondpass_request_seconds_count{method="POST",path="/search"}' in text
    assert re.search(r"secondpass_queue_wait_seconds_count [1-9]", text)
    assert f'version="{client.get("/version").json()["version"]}"' in text


def test_requests_to_many_collections_share_one_label() -> None:
    metrics = Metrics()
    for number in range(MOST_COLLECTIONS + 5):
        metrics.observe_request("GET", "/search", 200, 0.1, f"c{number}")
    text = metrics.render().decode()
    assert text.count("secondpass_requests_total{") == MOST_COLLECTIONS + 1
    assert re.search(r'secondpass_requests_total\{collection="other".*\} 5\.0', text)


def test_openapi_describes_every_field_with_limits(client: TestClient) -> None:
    spec = client.get("/openapi.json").json()
    request = spec["components"]["schemas"]["SearchRequest"]
    assert request["required"] == ["query"]
    assert request["additionalProperties"] is False
    for name, schema in request["properties"].items():
        assert schema.get("description"), name
    assert request["properties"]["top_k"] == {
        **request["properties"]["top_k"], "minimum": 1, "maximum": 100, "default": 10,
    }  # fmt: skip
    assert request["examples"]
    responses = spec["paths"]["/search"]["post"]["responses"]
    assert {"200", "401", "413", "415", "422", "429", "500", "503", "504"} <= set(responses)
    for status in ("401", "413", "415", "422", "429", "500", "503", "504"):
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema["$ref"].endswith("/ErrorBody")
    for schema in ("HitBody", "SearchResponse", "RerankBody"):
        assert spec["components"]["schemas"][schema]["properties"]


def test_every_field_on_the_wire_is_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        for field, about in schema.get("properties", {}).items():
            assert about.get("description") or "$ref" in about, f"{name}.{field}"


def test_readiness_fails_when_the_index_lacks_what_the_store_has(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteView, "counts", property(lambda _self: Counts(0, 10_000)))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["index"] != "ok"


def test_docs_page_is_there(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200


@pytest.fixture(scope="module")
def locked(engine, settings: Settings):
    guarded = settings.model_copy(update={"api_key_hashes": frozenset({hash_key("right")})})

    class Borrowed:
        """The shared engine; closing it is its owner's business."""

        def __getattr__(self, name: str) -> object:
            return getattr(engine, name)

        def close(self) -> None:
            pass

    with TestClient(create_app(guarded, Borrowed)) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic right"},
        {"Authorization": f"Bearer {hash_key('right')}"},
    ],
)
def test_without_the_right_key_search_is_closed(locked: TestClient, headers: dict) -> None:
    answer = locked.post("/search", json={"query": "tides"}, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_right_key_opens_search_and_probes_need_none(locked: TestClient) -> None:
    headers = {"Authorization": "Bearer right"}
    assert locked.post("/search", json={"query": "tides"}, headers=headers).status_code == 200
    assert locked.get("/livez").status_code == 200
    assert locked.get("/readyz").status_code == 200


def test_drift_is_shown_by_collection_once_there_are_enough_searches(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> set[str]:
        name = r'^secondpass_drift_psi\{collection="main",measure="(\w+)"\} \d'
        return set(re.findall(name, client.get("/metrics").text, re.MULTILINE))

    monkeypatch.setattr(drift, "FEWEST", 2)
    fresh = drift.Drift.of(engine.searcher.second_stage.judge)
    monkeypatch.setattr(engine.searcher, "drift", fresh)
    for rerank in (True, False, False):
        client.post("/search", json={"query": "tides", "rerank": rerank})
    assert shown() == set()
    client.post("/search", json={"query": "high tide"})
    assert shown() == {"logit", "confidence", "query_tokens"}
