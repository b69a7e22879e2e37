"""More connections than the server can hold, most of which do nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.api import connections as connections_module
from service.settings import Settings
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.listening import Listening, one_answer, until
from tests.fixtures.serving import bulk_engine, running

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = (
    b"POST /documents/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    b"Content-Length: 1000\r\n\r\n{"
)


@dataclass(frozen=True, slots=True)
class Child:
    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, path: bytes = b"/", within_s: float = 5) -> bytes:
        with self.connect() as connection:
            connection.settimeout(within_s)
            connection.sendall(HEAD.replace(b"/", path, 1) + b"\r\n")
            return one_answer(connection)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


@contextmanager
def child(folder: Path, open_files: int, **settings: object) -> Iterator[Child]:
    log = folder / "log"
    arguments = [json.dumps({"shutdown_delay_s": 0, **settings}), str(open_files)]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.server_child", *arguments],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert process.stdout is not None
    try:
        yield Child(process, int(process.stdout.readline()), log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(timeout=20)


def test_idle_connections_beyond_the_limit_on_open_files_shut_no_one_out(tmp_path: Path) -> None:
    with child(tmp_path, 128) as server, ExitStack() as idle:
        for number in range(400):
            connection = idle.enter_context(server.connect())
            if number % 2:
                connection.sendall(HEAD + b"X-Half: ")
        began = time.monotonic()
        for _ in range(20):
            assert server.ask().endswith(b"alive")
        assert time.monotonic() - began < 3
        descriptors = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        assert 90 < descriptors < 112, "a quarter, less what was open before, is for other files"
    assert len(server.log.read_text()) < 3000


def test_errors_of_accept_are_logged_once_and_do_not_end_it(tmp_path: Path) -> None:
    with child(tmp_path, 128) as server, server.connect() as starving:
        starving.sendall(HEAD.replace(b"/", b"/starve", 1) + b"\r\n")
        assert one_answer(starving).endswith(b"starved")
        began = time.monotonic()
        assert server.ask(within_s=10).endswith(b"alive")
        assert time.monotonic() - began > 0.5, "there was no descriptor left"
        assert server.ask().endswith(b"alive")
    assert server.log.read_text().count("cannot accept connections") == 1
    assert len(server.log.read_text()) < 3000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Listening]:
    settings = Settings(data_dir=tmp_path, max_connections=4)
    with bulk_engine(tmp_path, HashEncoder(), 1000) as engine, running(engine, settings) as server:
        yield server


def test_the_connection_that_was_idle_longest_makes_room(server: Listening) -> None:
    get = HEAD.replace(b"/", b"/livez", 1) + b"\r\n"
    with ExitStack() as all_of_them:
        kept = [all_of_them.enter_context(server.connect()) for _ in range(3)]
        for connection in kept:
            connection.sendall(get)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        kept[0].sendall(get)  # the second one is idle longest now
        assert one_answer(kept[0]).startswith(b"HTTP/1.1 200 ")
        until(lambda: len(server.server._connections.idle) >= 3)
        newcomers = [all_of_them.enter_context(server.connect()) for _ in range(2)]
        for connection in newcomers:
            connection.sendall(get)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        assert kept[1].recv(100) == b""
        kept[0].sendall(get)
        assert one_answer(kept[0]).startswith(b"HTTP/1.1 200 ")


def test_where_all_are_busy_one_more_is_told_and_stalled_ones_give_way(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = HEAD.replace(b"/", b"/livez", 1) + b"\r\n"
    with ExitStack() as all_of_them:
        uploads = [all_of_them.enter_context(server.connect()) for _ in range(4)]
        for connection in uploads:
            connection.sendall(UPLOAD)
        connections = server.server._connections
        until(lambda: len(connections.open) == 4 and not connections.idle)
        answer = server.talk(get)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "not_ready"
        assert b"\r\nretry-after: " in answer
        monkeypatch.setattr(connections_module, "STALLED_S", 0.1)
        time.sleep(0.2)
        assert server.talk(get, half_close=True).startswith(b"HTTP/1.1 200 ")
        assert uploads[0].recv(100) == b""


def test_a_byte_now_and_then_keeps_no_connection_where_all_are_busy(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STALLED_S", 0.5)
    line = b'{"id": "a", "text": "' + b"x" * 200 + b'"}\n'
    with ExitStack() as all_of_them:
        uploads = [all_of_them.enter_context(server.connect()) for _ in range(4)]
        for connection in uploads:
            connection.sendall(UPLOAD.replace(b"1000", b"1000000"))
        connections = server.server._connections
        until(lambda: len(connections.open) == 4 and not connections.idle)
        for _ in range(10):
            time.sleep(0.1)
            for connection in uploads[1:]:
                connection.sendall(b" ")
            uploads[0].sendall(line)
        get = HEAD.replace(b"/", b"/livez", 1) + b"\r\n"
        assert server.talk(get, half_close=True).startswith(b"HTTP/1.1 200 ")
        assert uploads[1].recv(100) == b""
        uploads[0].sendall(line)
        until(lambda: len(connections.open) == 3)
