"""One connection, byte by byte: what is no proper request, what comes late or in halves."""

import json
import logging
import socket
import time
from collections.abc import Iterator

import pytest

from service.api import connection as connection_module
from service.settings import Settings
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.listening import Listening, one_answer, to_the_end, until
from tests.fixtures.serving import bulk_engine, running

HOST = b"Host: localhost\r\n"
GET = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
ALIVE = b'{"status":"ok"}'
POST_JSON = b"POST /documents HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
UPLOAD = b"POST /documents/bulk HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-ndjson\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    path = tmp_path_factory.mktemp("data")
    settings = Settings(data_dir=path, header_timeout_s=1, keep_alive_timeout_s=2)
    with (
        bulk_engine(path, HashEncoder(), 1000) as engine,
        running(engine, settings) as server,
    ):
        yield server


def head_and_body(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """The one answer of a connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in fields}
    assert len(body) == int(headers["content-length"])
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    ("request_", "status", "code", "said"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 400, "bad_request", "Host"),
        (b"GET /livez HTTP/1.1\r\n" + HOST * 2 + b"\r\n", 400, "bad_request", "Host"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "bad_request", "not valid HTTP"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"X : y\r\n\r\n", 400, "bad_request", "not valid"),
        (b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n", 505, "version_not_supported", "HTTP/1.1"),
        (
            POST_JSON + b"Transfer-Encoding: gzip\r\n\r\n",
            501, "not_implemented", "chunked",
        ),
        (
            POST_JSON + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400, "bad_request", "either Content-Length or Transfer-Encoding",
        ),
        (
            b"POST /documents HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400, "bad_request", "HTTP/1.0",
        ),
        (
            POST_JSON + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n0000",
            400, "bad_request", "not valid HTTP",
        ),
        (
            POST_JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            400, "bad_request", "not valid HTTP",
        ),
        (
            b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
            431, "head_too_large", "65536 bytes",
        ),
    ],
)  # fmt: skip
def test_what_is_no_proper_request_gets_the_envelope_and_ends_the_connection(
    server: Listening,
    caplog: pytest.LogCaptureFixture,
    request_: bytes,
    status: int,
    code: str,
    said: str,
) -> None:
    caplog.set_level(logging.INFO)
    given, headers, body = head_and_body(server.talk(request_ + GET))
    error = json.loads(body)["error"]
    assert (given, error["code"]) == (status, code)
    assert said in error["message"]
    assert headers["connection"].lower() == "close"
    assert headers["x-request-id"] == error["request_id"]
    assert error["request_id"] in caplog.text
    assert "Traceback" not in caplog.text


def test_a_head_that_is_too_large_is_told_however_it_arrives(server: Listening) -> None:
    parts = [b"GET /livez HTTP/1.1\r\n" + HOST + b"X: ", *[b"y" * 7000] * 10, b"\r\n\r\n"]
    with server.connect() as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.01)
        assert head_and_body(to_the_end(connection))[0] == 431


def test_a_chunk_that_is_none_ends_a_request_under_way(
    server: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    with server.connect() as connection:
        connection.sendall(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n")
        time.sleep(0.2)
        connection.sendall(b"zz\r\n")
        status, _, body = head_and_body(to_the_end(connection))
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")
    until(lambda: not server.server.server_state.tasks)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://localhost/livez", 200),
        (b"HTTP://127.0.0.1:8000/livez?", 200),
        (b"http://user@localhost/livez", 200),
        (b"http://localhost", 200),
        (b"http://localhost/live%7A", 200),
        (b"http://rebound.example/livez", 421),
    ],
)
def test_a_target_may_be_a_whole_url_and_its_name_is_the_one_that_counts(
    server: Listening, target: bytes, status: int
) -> None:
    head = b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    assert head_and_body(server.talk(head))[0] == status


def test_a_client_that_has_said_all_gets_its_answers(server: Listening) -> None:
    assert server.talk(GET, half_close=True).count(ALIVE) == 1
    assert server.talk(GET + GET + GET, half_close=True).count(ALIVE) == 3
    body = b'{"id": "half", "text": "closed"}\n'
    upload = UPLOAD + b"Content-Length: %d\r\n\r\n" % len(body)
    assert server.talk(upload, body, half_close=True).startswith(b"HTTP/1.1 202 ")


def test_an_upload_that_ends_too_soon_gets_none(server: Listening) -> None:
    assert server.talk(UPLOAD + b"Content-Length: 50\r\n\r\n{", half_close=True) == b""


@pytest.mark.parametrize("sent", [b"", GET[:-2], GET[:10]])
def test_a_head_that_does_not_come_is_not_waited_for(server: Listening, sent: bytes) -> None:
    began = time.monotonic()
    answer = server.talk(sent)
    assert 0.9 < time.monotonic() - began < 5
    if sent:
        status, _, body = head_and_body(answer)
        assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    else:
        assert answer == b""


def test_a_head_that_comes_byte_by_byte_has_no_more_time(server: Listening) -> None:
    with server.connect() as connection:
        began = time.monotonic()
        connection.settimeout(0.1)
        for byte in GET * 10:
            connection.sendall(bytes([byte]))
            try:
                assert connection.recv(20).startswith(b"HTTP/1.1 408 ")
                break
            except TimeoutError:
                assert time.monotonic() - began < 5


def test_a_connection_is_kept_for_a_while_and_its_next_head_has_its_own_time(
    server: Listening,
) -> None:
    with server.connect() as connection:
        connection.sendall(GET)
        assert ALIVE in one_answer(connection)
        time.sleep(1.3)  # longer than a head may take
        connection.sendall(GET)
        assert ALIVE in one_answer(connection)
        began = time.monotonic()
        assert connection.recv(65536) == b""
        assert 1.5 < time.monotonic() - began < 5
    with server.connect() as connection:
        connection.sendall(GET + GET[:10])
        one_answer(connection)
        connection.sendall(GET[10:20])
        assert b" 408 " in to_the_end(connection)


@pytest.mark.parametrize("length", [b"Content-Length: 4000000000", b"Transfer-Encoding: chunked"])
def test_a_refused_body_ends_the_connection(server: Listening, length: bytes) -> None:
    head = b"POST /search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    with server.connect() as connection:
        connection.sendall(head + length + b"\r\n\r\n")
        answer, began = b"", time.monotonic()
        connection.settimeout(0.01)
        while time.monotonic() - began < 8:
            try:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            except TimeoutError:
                pass
            except OSError:
                break
            try:
                answer += connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
    status, headers, _ = head_and_body(answer)
    assert (status, headers["connection"]) == (413, "close")
    assert time.monotonic() - began < 5


def test_the_answer_arrives_though_the_client_first_sends_its_whole_body(
    server: Listening,
) -> None:
    body = b"x" * 8_000_000
    head = b"POST /search HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
    assert head_and_body(server.talk(head, body))[0] == 413


def test_a_small_body_that_is_refused_unread_keeps_the_connection(server: Listening) -> None:
    with server.connect() as connection:
        connection.sendall(b"PUT /documents/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n")
        status, headers, _ = head_and_body(one_answer(connection))
        assert (status, headers.get("connection")) == (415, None)
        connection.sendall(b"hello" + GET)
        assert ALIVE in one_answer(connection)


def test_a_client_that_waits_to_be_asked_is_not_waited_for(server: Listening) -> None:
    head = b"PUT /documents/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n"
    began = time.monotonic()
    status, headers, _ = head_and_body(server.talk(head + b"Expect: 100-continue\r\n\r\n"))
    assert (status, headers["connection"]) == (415, "close")
    assert time.monotonic() - began < 1


def test_a_long_method_is_not_logged_whole(
    server: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    method = b"M" * 60_000
    answer = server.talk(method + b" /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    until(lambda: " 405 " in caplog.text)
    longest = max(map(len, caplog.text.splitlines()))
    assert longest < 500


def test_an_upgrade_that_is_not_offered_is_answered_without_it(
    server: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    answer = server.talk(GET[:-2] + upgrade, half_close=True)
    assert answer.endswith(ALIVE)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_that_reads_nothing_is_given_up(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SEND_S", 0.3)
    open_ones = server.server._connections.open
    until(lambda: not open_ones)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall((b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") * 100)
        until(lambda: any(one.flow.write_paused for one in open_ones))
        until(lambda: not open_ones, 5)


def test_a_client_that_reads_slowly_is_not(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SEND_S", 1.0)
    request_ = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(request_ * 60)
        connection.shutdown(socket.SHUT_WR)
        received, began = b"", time.monotonic()
        while piece := connection.recv(400_000):
            received += piece
            time.sleep(0.02)
    assert received.count(b"HTTP/1.1 200 OK") == 60
    assert time.monotonic() - began > 1.0
