"""Web pages of other origins, and a server below a path."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.settings import Settings
from tests.fixtures.hash_server import running

FRIEND, STRANGER = "https://friend.example", "https://stranger.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-api-key",
}
ALLOWED = "access-control-allow-origin"

Start = Callable[..., TestClient]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    servers = []

    def started(**settings: object) -> TestClient:
        server = running(Settings(data_dir=tmp_path, **settings))  # type: ignore[arg-type]
        servers.append(server)
        return server.__enter__()

    yield started
    for server in servers:
        server.__exit__(None, None, None)


def preflight(client: TestClient, origin: str) -> dict[str, str]:
    answer = client.options("/search", headers={**PREFLIGHT, "Origin": origin})
    return dict(answer.headers)


def test_no_other_origin_may_read_answers_unless_it_is_named(start: Start) -> None:
    client = start()
    assert ALLOWED not in preflight(client, FRIEND)
    assert ALLOWED not in client.get("/livez", headers={"Origin": FRIEND}).headers


def test_an_origin_that_is_named_may_and_no_other_one(start: Start) -> None:
    client = start(cors_origins=frozenset({FRIEND}))
    allowed = preflight(client, FRIEND)
    assert allowed[ALLOWED] == FRIEND
    assert "X-API-Key" in allowed["access-control-allow-headers"]
    assert "PUT" in allowed["access-control-allow-methods"]
    assert ALLOWED not in preflight(client, STRANGER)
    for path in ("/livez", "/nowhere"):
        answer = client.get(path, headers={"Origin": FRIEND})
        assert answer.headers[ALLOWED] == FRIEND
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        assert ALLOWED not in client.get(path, headers={"Origin": STRANGER}).headers


@pytest.mark.parametrize("origins", [{FRIEND}, {"*"}, {"*", FRIEND}])
def test_credentials_are_never_allowed(start: Start, origins: set[str]) -> None:
    client = start(cors_origins=frozenset(origins))
    asked = {"Origin": FRIEND, "Cookie": "a=b"}
    for answer in (preflight(client, FRIEND), client.get("/livez", headers=asked).headers):
        assert answer[ALLOWED] == ("*" if "*" in origins else FRIEND)
        assert "access-control-allow-credentials" not in answer


@pytest.mark.parametrize(
    "origin", ["friend.example", "https://a/b", "https://*.x/", "null", "ftp://a"]
)
def test_what_is_no_origin_stops_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="scheme, host"):
        Settings(cors_origins=frozenset({origin}))


def test_addresses_begin_with_the_root_path_unless_the_proxy_names_another(start: Start) -> None:
    client = start(root_path="/find")
    assert '<base href="/find/">' in client.get("/").text
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/find"}]
    made = client.post("/collections", json={"name": "made"})
    assert made.headers["Location"] == "/find/collections/made"
    other = {"X-Forwarded-Prefix": "/other"}
    assert '<base href="/other/">' in client.get("/docs", headers=other).text


@pytest.mark.parametrize("path", ["find", "/find/", "/", "/a/../b", "/a b", '/"><script>'])
def test_what_is_no_path_stops_the_start(path: str) -> None:
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=path)
