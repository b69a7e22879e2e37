"""Which requests a reader answers itself, and what it says where its owner does not answer."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from service.api.exchange import get
from service.api.forwarding import Forwarding
from service.pipeline.collections import Collections
from service.pipeline.engine import Engine
from service.pipeline.following import Follower, open_following
from service.pipeline.live_collection import LiveCollection
from tests.fixtures.hash_models import HashPool, hash_settings, open_hash_engine


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Engine]:
    with open_hash_engine(hash_settings(tmp_path / "data")) as engine:
        yield engine


@pytest.fixture
def follower(owner: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    monkeypatch.setattr(Follower, "follow", lambda _self: None)
    follower = open_following(hash_settings(owner.folder.path), HashPool())
    with follower.engine:
        yield follower


def no_owner() -> socket.socket:
    raise ConnectionError("gone")


def ask(
    follower: Follower | None,
    method: str,
    path: str,
    client: tuple[str, int] = ("127.0.0.1", 1),
    connect: Callable[[], socket.socket] = no_owner,
) -> httpx.Response:
    forwarding = Forwarding(PlainTextResponse("own"), lambda: follower, connect)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(forwarding, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://reader") as asked:
            return await asked.request(method, path, headers={"X-Request-ID": "mine"})

    return asyncio.run(send())


def is_own(answer: httpx.Response) -> bool:
    if answer.status_code == 200:
        return answer.text == "own"
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.json()["error"]["code"] == "not_ready"
    assert answer.json()["error"]["request_id"] == "mine"
    return False


@pytest.mark.parametrize(
    ("method", "path", "own"),
    [
        ("POST", "/search", True),
        ("POST", "/search/batch", True),
        ("POST", "/collections/main/search", True),
        ("POST", "/collections/default/search/batch", True),
        ("POST", "/similarity", True),
        ("GET", "/livez", True),
        ("GET", "/docs", True),
        ("GET", "/openapi.json", True),
        ("POST", "/collections/none/search", False),
        ("POST", "/collections/main/search/other", False),
        ("GET", "/search", False),
        ("GET", "/readyz", False),
        ("GET", "/metrics", False),
        ("GET", "/documents", False),
        ("POST", "/documents", False),
        ("GET", "/collections/main/snapshot", False),
    ],
)
def test_searches_are_its_own_and_all_else_is_the_owners(
    follower: Follower, method: str, path: str, own: bool
) -> None:
    assert is_own(ask(follower, method, path)) is own


def test_before_it_is_ready_everything_is_the_owners() -> None:
    assert not is_own(ask(None, "POST", "/search"))
    assert not is_own(ask(None, "GET", "/readyz"))
    assert is_own(ask(None, "GET", "/livez"))


@contextmanager
def owner_that_says(said: bytes) -> Iterator[Callable[[], socket.socket]]:
    """A connection to one that says this much and ends."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        yield lambda: ours


@pytest.mark.parametrize("said", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-"])
def test_an_owner_that_ends_before_it_has_answered_is_told(said: bytes) -> None:
    with owner_that_says(said) as connect:
        assert not is_own(ask(None, "GET", "/documents", connect=connect))


@pytest.mark.parametrize("length", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
def test_an_answer_that_breaks_off_is_not_made_whole(length: bytes) -> None:
    body = b"4\r\nhalf\r\n" if b"chunked" in length else b"half"
    head = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n"
    sent: list[Message] = []
    request = iter([{"type": "http.request"}])

    async def receive() -> Message:
        for message in request:
            return message
        return await asyncio.Future()  # the client stays

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/documents", "raw_path": b"/documents"}
    scope |= {"query_string": b"", "headers": [(b"host", b"reader")], "client": ("127.0.0.1", 1)}
    with owner_that_says(head + body) as connect:
        asyncio.run(
            Forwarding(PlainTextResponse("own"), lambda: None, connect)(scope, receive, send)
        )
    start, *pieces = sent
    assert start["status"] == 200
    assert b"".join(piece["body"] for piece in pieces) == b"half"
    assert all(piece["more_body"] for piece in pieces)


def test_the_owner_gets_its_figures(follower: Follower) -> None:
    assert is_own(ask(follower, "GET", "/metrics", None))  # type: ignore[arg-type]


def test_an_error_is_taken_for_no_figures() -> None:
    said = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nwrong"
    with owner_that_says(said) as connect, pytest.raises(ConnectionError, match="500"):
        asyncio.run(get(connect(), b"/metrics"))


def test_it_says_itself_that_it_cannot_read(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveCollection, "check", lambda _self: "the store cannot be read")
    assert is_own(ask(follower, "GET", "/readyz"))
    assert is_own(ask(follower, "GET", "/healthz"))


def test_what_it_has_not_opened_yet_is_the_owners(owner: Engine, follower: Follower) -> None:
    collections = Collections(owner, hash_settings(owner.folder.path))
    collections.create("other", {})
    collections.set_alias("default", "other")
    for method, path in [("POST", "/search"), ("GET", "/readyz")]:
        assert not is_own(ask(follower, method, path))
    assert is_own(ask(follower, "POST", "/collections/main/search"))
    collections.close()
