"""Answers of megabytes, and clients that read them slowly or stop reading."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api import connection as connection_module
from service.api import connections as connections_module
from service.api.connection import Connection
from service.api.connections import Phase
from service.settings import Settings
from tests.fixtures.listening import Listening, listening, one_answer, until

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_LARGE = GET.replace(b"/", b"/large", 1)
LARGE_BYTES = 16 << 20


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    size = LARGE_BYTES if scope["path"] == "/large" else 5
    await Response(b"x" * size)(scope, receive, send)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Listening]:
    settings = Settings(data_dir=tmp_path, max_connections=4, shutdown_grace_s=0)
    with listening(application, settings, Phase()) as server:
        yield server


def reader(server: Listening, others: int | None = None) -> socket.socket:
    """A client that has asked for a large answer and read nothing of it; then `others` are left."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", server.port))
    others = unread(server) if others is None else others
    connection.sendall(GET_LARGE)
    until(lambda: unread(server) == others + 1)
    return connection


def unread(server: Listening) -> int:
    """Connections that wait for their client to read."""
    open_ones = [one for one in server.server._connections.open if isinstance(one, Connection)]
    return sum(one.flow is not None and one.flow.write_paused for one in open_ones)


def read_some(connection: socket.socket, least: int) -> int:
    received = 0
    with suppress(ConnectionResetError):
        while received < least and (piece := connection.recv(1 << 20)):
            received += len(piece)
    return received


def test_a_client_that_reads_its_answer_is_not_idle(server: Listening) -> None:
    with ExitStack() as all_of_them:
        reading = all_of_them.enter_context(reader(server))
        for _ in range(6):  # three fit in
            newcomer = all_of_them.enter_context(server.connect())
            newcomer.sendall(GET)
            assert one_answer(newcomer).endswith(b"xxxxx")
        assert read_some(reading, LARGE_BYTES) >= LARGE_BYTES


def test_of_busy_clients_one_that_goes_on_reading_stays(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STALLED_S", 0.5)
    with ExitStack() as all_of_them:
        reading = all_of_them.enter_context(reader(server))  # it has waited longest
        for _ in range(3):
            all_of_them.enter_context(reader(server))
        assert server.talk(GET).startswith(b"HTTP/1.1 503 ")
        time.sleep(0.6)
        received = read_some(reading, LARGE_BYTES // 2)
        assert server.talk(GET, half_close=True).startswith(b"HTTP/1.1 200 ")
        assert unread(server) == 3
        assert read_some(reading, LARGE_BYTES - received) + received >= LARGE_BYTES


def test_stalled_readers_are_closed_where_too_much_waits_for_them(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STALLED_S", 0.2)
    monkeypatch.setattr(connections_module, "MOST_UNSENT", LARGE_BYTES)
    with ExitStack() as all_of_them:
        first = all_of_them.enter_context(reader(server))
        second = all_of_them.enter_context(reader(server))
        assert unread(server) == 2, "none of them is stalled yet"
        time.sleep(0.3)
        third = all_of_them.enter_context(reader(server, others=0))
        assert unread(server) == 1
        assert read_some(third, LARGE_BYTES) >= LARGE_BYTES
        for gone in (first, second):
            assert read_some(gone, LARGE_BYTES) < LARGE_BYTES


def test_a_client_that_reads_next_to_nothing_is_given_up(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SEND_S", 0.3)
    monkeypatch.setattr(connection_module, "LEAST_BYTES", LARGE_BYTES)
    with reader(server) as connection:
        for _ in range(4):
            connection.recv(1 << 17)
            time.sleep(0.1)
        until(lambda: not server.server._connections.open, 5)
