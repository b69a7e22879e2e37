"""What holds on every route, whichever it is: a route that is added later is tried here as well."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings
from service.store.key_file import hash_key
from tests.fixtures.hash_server import fill, running
from tests.fixtures.routes import ROUTES, RULES
from tests.fixtures.serving import Borrowed


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(Settings(data_dir=tmp_path_factory.mktemp("data"))) as client:
        fill(client)
        yield client


def test_all_routes_are_found() -> None:
    assert ("POST", "/search") in ROUTES
    assert ("DELETE", "/collections/main/documents/py-with") in ROUTES
    assert {("GET", "/livez"), ("GET", "/docs"), ("GET", "/openapi.json")} <= set(ROUTES)
    assert all("{" not in path for _, path in ROUTES)


OWN = [route for route, rules in RULES.items() if not rules.compatible]
"""Routes in the service's own format."""


@pytest.mark.parametrize(("method", "path"), OWN)
def test_an_unknown_query_parameter_is_refused(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, params={"nonsense": "s3cret"})
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert [detail["field"] for detail in error["details"]] == ["nonsense"]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(("method", "path"), sorted(set(ROUTES) - set(OWN)))
def test_a_route_in_another_format_ignores_unknown_names_and_explains_errors(
    client: TestClient, method: str, path: str
) -> None:
    body = {"nonsense": "s3cret"} if method == "POST" else None
    answer = client.request(method, path, params={"nonsense": 1}, json=body)
    if method == "GET":
        assert answer.status_code == 200, answer.text
        return
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"] in answer.json()["detail"]
    assert "nonsense" not in answer.text
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        (
            "GET",
            "/documents?filter={}",
            'unknown query parameter "filter"; did you mean "filters"?',
        ),
        ("GET", "/documents?Limit=3", 'did you mean "limit"?'),
        ("PUT", "/documents/a?wiat=true", 'did you mean "wait"?'),
        ("POST", "/documents?timeout=9", 'did you mean "timeout_ms"?'),
        ("POST", "/collections/b/restore?re-embed=true", 'did you mean "re_embed"?'),
        ("GET", "/jobs?page=2", "this route has limit"),
        ("GET", "/livez?a=1", "this route has none"),
        ("GET", "/documents?limit=1&limit=2", '"limit" appears 2 times'),
        ("GET", f"/documents?{'x' * 50_000}=1", "this route has cursor, filters, limit"),
    ],
)
def test_the_nearest_query_parameter_is_told(
    client: TestClient, method: str, path: str, said: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]["message"]
    assert len(answer.content) < 1000


def test_the_key_is_asked_for_before_the_query_parameters(client: TestClient) -> None:
    settings = Settings(api_key_hashes=frozenset({hash_key("right")}))
    app = client.app
    assert isinstance(app, FastAPI)
    locked = create_app(settings, lambda: Borrowed(app.state.server.engine))  # type: ignore[arg-type, return-value]
    own = {"/livez", "/readyz", "/healthz", "/version", "/metrics", "/docs", "/openapi.json"}
    own |= {"/", "/page/style.css", "/docs/swagger-ui.css"}
    health = {"/health", "/tei/embed/health", "/tei/rerank/health"}
    with TestClient(locked) as stranger:
        for method, path in ROUTES:
            status = stranger.request(method, path, params={"nonsense": 1}).status_code
            expected = 422 if path in own else 200 if path in health else 401
            assert status == expected, (method, path)
