"""No client keeps the others from writing: over real connections, with and without keys."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.api.auth import Keys, caller_of
from service.engine.engine import Engine
from service.scheduling import gate
from service.settings import Settings
from service.store.key_file import hash_key
from service.types import Vectors
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.serving import bulk_engine, serving

LINE = json.dumps({"id": "a", "text": "tides and the moon"}).encode() + b"\n"
KEYS = frozenset({hash_key("greedy"), hash_key("modest")})


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("data")
    with bulk_engine(path, HashEncoder(), 1000) as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with serving(engine, Settings(max_queue=8)) as address:
        yield address


def begun(address: str, path: str, *lines: str, body: bytes = b"") -> socket.socket:
    """A connection over which a request has begun, and no more comes."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    head = [f"POST {path} HTTP/1.1", f"Host: {host}", *lines, "Content-Length: 500000", "", ""]
    connection.sendall("\r\n".join(head).encode() + body)
    return connection


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/documents", "application/json", b""),
        ("/documents", "application/json", b'{"documents": ['),
        ("/search", "application/json", b"{"),
        ("/documents/bulk", "application/x-ndjson", b""),
        ("/documents/bulk", "application/x-ndjson", LINE * 100),
        ("/collections/other/restore", "application/x-tar", b"o"),
    ],
)
def test_bodies_that_do_not_come_block_no_other_request(
    address: str, path: str, kind: str, body: bytes
) -> None:
    with ExitStack() as opened:
        for _ in range(70):
            opened.enter_context(begun(address, path, f"Content-Type: {kind}", body=body))
        with httpx.Client(base_url=address, timeout=10) as client:
            assert client.put("/documents/a", json={"text": "tides"}).status_code in {200, 201}
            assert client.post("/search", json={"query": "tides"}).status_code == 200
            ndjson = {"Content-Type": "application/x-ndjson"}
            upload = client.post("/documents/bulk", content=LINE, headers=ndjson)
            assert upload.status_code == 202


def test_large_bodies_that_stop_coming_are_bounded_for_each_client(engine: Engine) -> None:
    settings = Settings(max_documents_body_bytes=1 << 20, api_key_hashes=KEYS)  # 2 of 8 MiB each
    with serving(engine, settings) as address, ExitStack() as opened:
        kind, key = "Content-Type: application/json", "Authorization: Bearer greedy"
        for _ in range(4):
            large = b'{"documents": [' + b" " * 100_000
            opened.enter_context(begun(address, "/documents", kind, key, body=large))
        with httpx.Client(base_url=address, timeout=10) as client:
            documents = {"documents": [{"id": "a", "text": "tides"}]}
            large = json.dumps(documents).encode() + b" " * 200_000
            found = {}
            for name in ("greedy", "modest"):
                headers = {"Authorization": f"Bearer {name}", "Content-Type": "application/json"}
                sent = (large, json.dumps(documents))
                answers = [client.post("/documents", content=s, headers=headers) for s in sent]
                found[name] = [answer.status_code for answer in answers]
    assert found == {"greedy": [429, 200], "modest": [200, 200]}


def test_uploads_that_come_at_pace_are_a_quarter_of_all_for_one_client(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.jobs is not None
    monkeypatch.setattr(engine.jobs._uploads, "_limit", 4)
    with serving(engine, Settings(api_key_hashes=KEYS)) as address, ExitStack() as opened:
        kind, key = "Content-Type: application/x-ndjson", "Authorization: Bearer greedy"
        some = LINE * (1 + gate.PIECE // len(LINE))
        opened.enter_context(begun(address, "/documents/bulk", kind, key, body=some))
        while not engine.jobs._uploads.in_flight:
            pass
        with httpx.Client(base_url=address, timeout=10) as client:
            found = {}
            for name in ("greedy", "modest"):
                headers = {
                    "Authorization": f"Bearer {name}",
                    "Content-Type": "application/x-ndjson",
                }
                answer = client.post("/documents/bulk", content=LINE, headers=headers)
                found[name] = answer.status_code
    assert found == {"greedy": 429, "modest": 202}


class Slow(HashEncoder):
    """Takes its time for a query, so that batches last."""

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        time.sleep(0.002 * len(texts))
        return super().encode_queries(texts)


def test_batches_of_one_client_shut_out_neither_others_nor_its_own_searches(tmp_path: Path) -> None:
    settings = Settings(api_key_hashes=KEYS)
    with (
        bulk_engine(tmp_path, Slow(), 1000) as engine,
        serving(engine, settings) as address,
        ThreadPoolExecutor() as pool,
    ):
        stop = threading.Event()

        def batches() -> set[int]:
            found = set()
            with httpx.Client(base_url=address, timeout=30, headers=bearer("greedy")) as client:
                while not stop.is_set():
                    queries = [{"query": f"tides {n}"} for n in range(64)]
                    found.add(client.post("/search/batch", json={"queries": queries}).status_code)
            return found

        running = [pool.submit(batches) for _ in range(4)]
        found = {}
        for name in ("modest", "greedy"):
            with httpx.Client(base_url=address, timeout=30, headers=bearer(name)) as client:
                answers = [client.post("/search", json={"query": "tides"}) for _ in range(40)]
            found[name] = {answer.status_code for answer in answers}
        stop.set()
        assert [batch.result() for batch in running] == [{200}] * 4
    assert found == {"modest": {200}, "greedy": {200}}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def scope(peer: str | None, key: str | None = None) -> dict[str, object]:
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    return {"type": "http", "headers": headers, "client": (peer, 50_000) if peer else None}


def keys(hashes: frozenset[str] = frozenset()) -> Keys:
    return Keys(Settings(api_key_hashes=hashes))


def test_a_client_is_its_key_where_that_is_known_else_its_address() -> None:
    greedy = caller_of(scope("10.0.0.1", "greedy"), keys(KEYS)).client
    assert greedy == caller_of(scope("10.0.0.2", "greedy"), keys(KEYS)).client
    assert greedy != caller_of(scope("10.0.0.1", "modest"), keys(KEYS)).client
    assert "greedy" not in str(greedy)
    for key in (None, "made up"):
        caller = caller_of(scope("10.0.0.1", key), keys(KEYS))
        assert (caller.client, caller.key, caller.needs_key) == ("10.0.0.1", None, True)
    assert caller_of(scope("10.0.0.1", "greedy"), keys()).client == "10.0.0.1"
    assert caller_of(scope(None), keys(KEYS)).client is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_addresses_behind_one_network_of_ipv6_are_one_client(
    one: str, other: str, same: bool
) -> None:
    assert (caller_of(scope(one), keys()).client == caller_of(scope(other), keys()).client) == same
