"""What is looked at before a body is read."""

import asyncio
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.api import body as body_module
from service.api.app import create_app
from service.scheduling import gate
from service.settings import Settings
from service.store.key_file import hash_key
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.serving import Borrowed, bulk_engine

JSON = (b"content-type", b"application/json")
KEY = (b"authorization", b"Bearer right")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    settings = Settings(api_key_hashes=frozenset({hash_key("right")}))
    path: Path = tmp_path_factory.mktemp("data")
    with bulk_engine(path, HashEncoder(), 1000) as engine:
        app = create_app(settings, lambda: Borrowed(engine))  # type: ignore[arg-type, return-value]
        with TestClient(app) as client:
            while client.get("/readyz").status_code != 200:
                pass
            yield app


def ask(
    app: FastAPI,
    *headers: tuple[bytes, bytes],
    method: str = "POST",
    path: str = "/documents",
    every_s: float = 1,
) -> tuple[int, str, int]:
    """Send a body of a byte now and then; the status, the code, and how often it was asked for."""
    asked = 0
    sent: list[dict] = []

    async def receive() -> dict:
        nonlocal asked
        asked += 1
        await asyncio.sleep(every_s)
        return {"type": "http.request", "body": b" ", "more_body": every_s < 1 and asked < 100}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "state": {},
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)["error"]["code"], asked


ROUTES = [
    ("POST", "/documents"),
    ("PUT", "/documents/a"),
    ("POST", "/search"),
    ("POST", "/search/batch"),
    ("POST", "/collections/default/search"),
    ("POST", "/similarity"),
    ("POST", "/collections"),
    ("PUT", "/aliases/a"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_key_no_body_is_read(app: FastAPI, method: str, path: str) -> None:
    wrong = (b"authorization", b"Bearer wrong")
    for headers in ((JSON,), (JSON, wrong)):
        assert ask(app, *headers, method=method, path=path) == (401, "unauthorized", 0)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_body_of_another_kind_is_not_read(app: FastAPI, method: str, path: str) -> None:
    plain = (b"content-type", b"text/plain")
    refused = (415, "unsupported_media_type", 0)
    assert ask(app, KEY, plain, method=method, path=path) == refused


def test_without_a_permit_no_body_is_read(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.state.server.writes, "_limit", 0)
    assert ask(app, KEY, JSON) == (429, "overloaded", 0)
    assert ask(app, KEY, JSON, path="/collections/default/documents") == (429, "overloaded", 0)


def test_a_body_that_stops_coming_is_given_up(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "WINDOW_S", 0.05)
    assert ask(app, KEY, JSON) == (422, "invalid_request", 1)
    assert app.state.server.writes.in_flight == 0


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_body_that_comes_byte_by_byte_is_given_up_at_last(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(body_module, "WHOLE_S", 0.1)
    status, code, asked = ask(app, KEY, JSON, method=method, path=path, every_s=0.01)
    assert (status, code) == (422, "invalid_request")
    assert 1 < asked < 50
    assert app.state.server.writes.in_flight == 0


def test_the_event_loop_has_its_turns_while_a_large_body_is_parsed() -> None:
    documents = [{"id": str(n), "text": "t", "metadata": {"tags": ["a"]}} for n in range(60_000)]
    body = json.dumps({"documents": documents}).encode()

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def longest_wait() -> tuple[float, float]:
        now = asyncio.get_running_loop().time
        begun = before = now()
        longest = 0.0
        parsing = asyncio.create_task(body_module._Parsed({"type": "http"}, receive).json())
        while not parsing.done():
            await asyncio.sleep(0)
            longest, before = max(longest, now() - before), now()
        assert await parsing == {"documents": documents}
        return longest, now() - begun

    gc.disable()  # it would stop all threads for as long as it looks through what was parsed
    try:
        longest, whole = asyncio.run(longest_wait())
    finally:
        gc.enable()
    assert longest < whole / 2


def test_the_key_is_asked_for_before_the_size_of_a_body(app: FastAPI) -> None:
    huge = (b"content-length", b"99999999999")
    assert ask(app, JSON, huge) == (401, "unauthorized", 0)
    assert ask(app, JSON, huge, KEY) == (413, "body_too_large", 0)
