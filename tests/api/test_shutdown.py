"""The end of a server that was asked to stop: what goes on, what is told, what is cut."""

import json
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.api.connections import Phase
from service.api.gateway import Gateway
from service.engine.engine import Engine
from service.settings import Settings
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.listening import Listening, listening, one_answer, to_the_end, until
from tests.fixtures.serving import bulk_engine, running

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
LINE = b'{"id": "a", "text": "The tide turns twice a day."}\n'
UPLOAD = (
    b"POST /documents/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    b"X-Request-ID: long-upload\r\nContent-Length: %d\r\n\r\n" % len(LINE)
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with bulk_engine(tmp_path, HashEncoder(), 1000) as engine:
        yield engine


def settings(engine: Engine, delay_s: float, grace_s: int) -> Settings:
    return Settings(data_dir=engine.folder.path, shutdown_delay_s=delay_s, shutdown_grace_s=grace_s)


def begin_upload(server: Listening) -> socket.socket:
    """A request that is under way until the rest of its body comes."""
    connection = server.connect()
    connection.sendall(UPLOAD + LINE[:10])
    open_ones = server.server._connections.open
    until(lambda: any(one.cycle is not None and one.cycle.more_body for one in open_ones))
    return connection


def stop(server: Listening) -> None:
    server.server.handle_exit(signal.SIGTERM, None)


def is_refused(server: Listening) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_requests_under_way_finish_while_new_ones_are_told(engine: Engine) -> None:
    with running(engine, settings(engine, delay_s=1, grace_s=20)) as server:
        upload, idle = begin_upload(server), server.connect()
        idle.sendall(GET % b"/livez")
        assert b"connection: close" not in one_answer(idle)
        stop(server)
        until(lambda: server.talk(GET % b"/readyz", half_close=True)[9:12] == b"503")
        answer = server.talk(GET % b"/readyz")
        assert b"\r\nconnection: close\r\n" in answer
        assert b"\r\nretry-after: " in answer
        assert b"stopping" in answer
        idle.sendall(GET % b"/livez")
        answer = to_the_end(idle)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer
        until(lambda: is_refused(server))
        upload.sendall(LINE[10:])
        answer = to_the_end(upload)
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"\r\nconnection: close\r\n" in answer
        server.thread.join(5)
        assert not server.thread.is_alive(), "no longer than its last request"
        for connection in (upload, idle):
            connection.close()


def test_what_takes_too_long_is_cut_told_and_logged_with_its_id(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running(engine, settings(engine, delay_s=0, grace_s=1)) as server:
        with begin_upload(server) as upload:
            stop(server)
            answer = to_the_end(upload)
        server.thread.join(5)
    assert answer.startswith(b"HTTP/1.1 503 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["code"], error["request_id"]) == ("not_ready", "long-upload")
    assert "request long-upload was cut" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_stream_of_events_ends_when_the_port_is_closed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def encode(texts: list[str]) -> object:
        go_on.wait(20)
        return HashEncoder().encode_passages(texts)

    monkeypatch.setattr(engine.collection().searcher.encoder, "encode_passages", encode)
    with running(engine, settings(engine, delay_s=0, grace_s=20)) as server:
        with begin_upload(server) as upload:
            upload.sendall(LINE[10:])
            job = json.loads(one_answer(upload).partition(b"\r\n\r\n")[2])["job_id"]
            upload.sendall(GET % f"/jobs/{job}/events".encode())
            answer = b""
            while b"event: progress" not in answer:
                answer += upload.recv(65536)
            stop(server)
            assert b"event: end" not in to_the_end(upload)
        server.thread.join(5)
        assert not server.thread.is_alive()
    go_on.set()


def test_a_second_interrupt_ends_at_once(engine: Engine) -> None:
    with running(engine, settings(engine, delay_s=30, grace_s=60)) as server:
        with begin_upload(server):
            for _ in range(2):
                server.server.handle_exit(signal.SIGINT, None)
            server.thread.join(10)
        assert not server.thread.is_alive()


def test_compose_waits_for_the_whole_of_it() -> None:
    compose = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
    waits_s = int(compose["services"]["search"]["stop_grace_period"].removesuffix("s"))
    default = Settings()
    assert default.shutdown_grace_s * 1000 >= default.timeout_ms
    assert waits_s >= default.shutdown_delay_s + default.shutdown_grace_s + 5


def test_a_failure_to_load_ends_without_a_delay() -> None:
    bound = threading.Event()

    def fail() -> None:
        server.server.should_exit = True

    def make() -> None:
        assert bound.wait(10)
        raise RuntimeError("no package")

    gateway = Gateway(make, fail)  # type: ignore[arg-type]
    with listening(gateway, Settings(shutdown_delay_s=60), Phase()) as server:
        bound.set()
        server.thread.join(5)
        assert not server.thread.is_alive()
