"""HEAD, slashes at the end of a path, `Allow` and the prefix of a proxy, on every route."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.settings import Settings
from tests.fixtures.hash_server import fill, running
from tests.fixtures.routes import ROUTES, RULES

NDJSON = "application/x-ndjson"
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
GETS = [path for method, path in ROUTES if method == "GET"]
PATHS = sorted({path for _, path in ROUTES})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(Settings(data_dir=tmp_path_factory.mktemp("data"))) as client:
        fill(client)
        client.follow_redirects = False
        yield client


def lasting(answer: httpx.Response) -> dict[str, str]:
    """The headers that two answers to one question have in common."""
    return {k: v for k, v in answer.headers.items() if k not in {"x-request-id", "server-timing"}}


@pytest.mark.parametrize("path", [*GETS, "/documents/none", "/documents?limit=0", "/nowhere"])
def test_head_is_get_without_its_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.content == b""
    assert head.status_code == got.status_code
    if path == "/metrics":  # which counts the requests
        assert head.headers["content-type"] == got.headers["content-type"]
    else:
        assert lasting(head) == lasting(got)
    assert head.headers["X-Request-ID"]


def test_head_does_not_hold_what_a_stream_holds(client: TestClient) -> None:
    for _ in range(10):  # more than may be read at a time
        answer = client.head("/collections/main/snapshot")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-tar"
        assert answer.content == b""
    upload = {"content": b'{"id": "n", "text": "t"}', "headers": {"Content-Type": NDJSON}}
    job = client.post("/documents/bulk", **upload).json()["job_id"]
    answer = client.head(f"/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    state = client.app.state.server  # type: ignore[attr-defined]
    assert (state.snapshots.in_flight, state.streams.in_flight) == (0, 0)


def test_head_is_counted_and_logged_by_its_route(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        client.head("/documents/py-with")
    assert "HEAD /documents/{id:rest} 200" in caplog.text
    counted = 'method="HEAD",path="/documents/{id:rest}",status="200"'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize("path", [*GETS, "/documents/none"])
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_at_the_end_of_a_path_means_nothing(
    client: TestClient, path: str, slashes: str
) -> None:
    bare, slashed = client.get(path), client.get(path + slashes)
    if "/documents/" in (path + slashes)[:-1]:  # a document's id may end so
        assert slashed.status_code == 404
        assert slashed.json()["error"]["code"] == "not_found"
        return
    assert slashed.status_code == bare.status_code
    assert slashed.headers["content-type"] == bare.headers["content-type"]
    if path != "/metrics" and "application/json" in bare.headers["content-type"]:
        assert without_id(slashed) == without_id(bare)


def without_id(answer: httpx.Response) -> Any:
    body = answer.json()
    body.get("error", {}).pop("request_id", None)
    return body


STRICT = [route for route, rules in RULES.items() if not rules.compatible]


@pytest.mark.parametrize(("method", "path"), STRICT)
def test_no_method_is_redirected(client: TestClient, method: str, path: str) -> None:
    # The same words for the same route, whatever it would do.
    answers = [client.request(method, path + end, params={"no": 1}) for end in ("", "/")]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert without_id(answers[0]) == without_id(answers[1])


def test_large_bodies_may_come_to_a_path_with_a_slash(client: TestClient) -> None:
    line = b'{"id": "long", "text": "' + b"long " * 300_000 + b'"}\n'
    answer = client.post("/documents/bulk/", content=line, headers={"Content-Type": NDJSON})
    assert answer.status_code == 202


def test_a_document_s_id_keeps_its_slash(client: TestClient) -> None:
    for path in ("/documents/a/", "/documents/b%2F", "/collections/main/documents/c//"):
        stored = client.put(path, json={"text": "A path of its own."})
        assert stored.status_code == 201
        assert stored.json()["id"].endswith("/")
        assert client.get(path).status_code == 200
        assert client.get(path.rstrip("/").removesuffix("%2F")).status_code == 404
        assert client.delete(path).status_code == 204


def test_a_path_without_an_id_is_no_document(client: TestClient) -> None:
    assert client.get("/documents/").json()["documents"]
    for answer in (client.put("/documents/", json={"text": "t"}), client.delete("/documents/")):
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("path", [*PATHS, "/documents/bulk", "/documents/delete"])
def test_allow_names_all_methods_of_a_path(client: TestClient, path: str) -> None:
    answers = {m: client.request(m, path, params={"nonsense": 1}) for m in (*METHODS, "TRACE")}
    there = {method for method, answer in answers.items() if answer.status_code != 405}
    there |= {"HEAD"} if "GET" in there else set()
    refused = [answer for answer in answers.values() if answer.status_code == 405]
    assert refused
    for answer in refused:
        assert answer.headers["Allow"] == ", ".join(sorted(there))
        assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("prefix", ["/search", "/docs/", "/a/b-c_d.e~f"])
def test_addresses_stand_below_the_prefix_of_a_proxy(client: TestClient, prefix: str) -> None:
    headers, bare = {"X-Forwarded-Prefix": prefix}, prefix.rstrip("/")
    name = f"made-{len(prefix)}"
    made = client.post("/collections/", json={"name": name}, headers=headers)
    assert made.headers["Location"] == f"{bare}/collections/{name}"
    assert client.post("/search", json={"query": "tides"}, headers=headers).status_code == 200
    assert client.delete(f"/collections/{name}/", headers=headers).status_code == 204
    for path in ("/", "/docs"):
        assert f'<base href="{bare}/">' in client.get(path, headers=headers).text
    assert {"url": bare} in client.get("/openapi.json", headers=headers).json()["servers"]
    assert "servers" not in client.get("/openapi.json").json()
    assert client.put("/search", headers=headers).headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/a/../b", "https://x", "a", "/a?b", '/"><script>', "/a" * 200]
)
def test_a_prefix_that_is_no_path_is_left_alone(client: TestClient, prefix: str) -> None:
    plain, answer = (client.get("/docs", headers=h) for h in ({}, {"X-Forwarded-Prefix": prefix}))
    assert answer.text == plain.text
