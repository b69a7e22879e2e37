"""A server of two processes: one owns the data folder, both answer searches.

All tests share it: each process takes seconds to start. What becomes of readers that die is told in
`tests/api/test_crew.py`, of a reader without an owner in `tests/api/test_forwarding.py`.
"""

import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.pipeline.ingestion import open_ingestion
from service.pipeline.pace import PIECE
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS, QUESTIONS
from tests.fixtures.small_models import write_small_encoder, write_small_reranker

KEY = "a key of these tests"
KEY_HASH = subprocess.run(
    ["sha256sum"], input=KEY.encode(), capture_output=True, check=True
).stdout.decode()[:64]
HEADERS = {"Authorization": f"Bearer {KEY}"}
MIB = 1 << 20


class Running:
    """A server with `--workers=2`, and one client at each of its two processes."""

    def __init__(self, settings: Settings, port: int, log: Path) -> None:
        self.settings, self.url, self.log = settings, f"http://127.0.0.1:{port}", log
        command = f"serve --data-dir={settings.data_dir} --port={port} --workers=2"
        command += f" --encoder={settings.encoder} --reranker={settings.reranker}"
        command += f" --cache-dir={settings.cache_dir} --api-key-hashes={KEY_HASH}"
        with log.open("a") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", *command.split()], stderr=file
            )
        self.clients: list[httpx.Client] = []

    def client(self) -> httpx.Client:
        client = httpx.Client(base_url=self.url, headers=HEADERS, timeout=30, verify=False)
        self.clients.append(client)
        return client

    def wait(self, done: Callable[[dict[str, Any]], bool], seconds: float = 90) -> None:
        """Until `/readyz` says what is wanted."""
        end = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            try:
                answer = httpx.get(f"{self.url}/readyz", verify=False)
                if answer.status_code == 200 and done(answer.json()):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)

    def both(self) -> list[httpx.Client]:
        """The owner's client and the reader's: connections are dealt out by turns."""
        self.wait(lambda ready: not about_workers(ready))
        pair = [self.client(), self.client()]
        before = self.searches()
        assert pair[0].post("/search", json={"query": "tide"}).status_code == 200
        return pair if (self.searches() - before) == Counter({"0": 1}) else pair[::-1]

    def searches(self) -> Counter[str]:
        """Answered searches by worker."""
        found = re.findall(
            r'requests_total\{method="POST",path="/search",status="200",worker="(\d)"\} (\d+)',
            httpx.get(f"{self.url}/metrics", verify=False).text,
        )
        return Counter({worker: int(count) for worker, count in found})

    def reader(self) -> int:
        """The reader's process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (reader,) = children.read_text().split()
        return int(reader)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def about_workers(ready: dict[str, Any]) -> list[str]:
    return [note for note in ready["notes"] if note.startswith("worker")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    path = tmp_path_factory.mktemp("server")
    settings = Settings(
        data_dir=path / "data",
        encoder=str(write_small_encoder(path)),
        reranker=str(write_small_reranker(path)),
        cache_dir=path / "cache",
    )
    with open_ingestion(settings) as ingestion:
        ingestion.ingestor.ingest(DOCUMENTS)
    running = Running(settings, free_port(), path / "log")
    yield running
    running.close()


@pytest.fixture(scope="module")
def both(server: Running) -> list[httpx.Client]:
    return server.both()


def hits(client: httpx.Client, query: str, path: str = "/search") -> list[dict[str, Any]]:
    """All documents, as the small models put them."""
    answer = client.post(path, json={"query": query, "top_k": 100})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["hits"]
    return found


def test_both_answer_alike(server: Running, both: list[httpx.Client]) -> None:
    before = server.searches()
    for query in QUESTIONS:
        mine, others = (hits(client, query) for client in both)
        assert mine == others
        assert mine[0]["rerank_score"] is not None
    assert server.searches() - before == Counter({"0": len(QUESTIONS), "1": len(QUESTIONS)})
    batch = {"queries": [{"query": query, "top_k": 100} for query in QUESTIONS]}
    answers = [client.post("/search/batch", json=batch).json()["results"] for client in both]
    assert [[r["hits"] for r in results] for results in answers] == [
        [hits(both[0], query) for query in QUESTIONS]
    ] * 2


def test_a_search_sees_what_was_acknowledged_before(both: list[httpx.Client]) -> None:
    for number, writer in zip(range(10), cycle(both), strict=False):
        text = {"text": f"The ferry to island number {number} leaves at noon."}
        assert writer.put(f"/documents/f{number}?wait=true", json=text).status_code == 201
        for client in both:
            assert f"f{number}" in {hit["id"] for hit in hits(client, text["text"])}
        assert both[number % 3 % 2].delete(f"/documents/f{number}").status_code == 204
        for client in both:
            assert f"f{number}" not in {hit["id"] for hit in hits(client, text["text"])}


def test_an_alias_is_switched_for_both_at_once(both: list[httpx.Client]) -> None:
    for name in ("blue", "green"):
        assert both[1].post("/collections", json={"name": name}).status_code == 201
        url = f"/collections/{name}/documents/d?wait=true"
        assert both[1].put(url, json={"text": f"The {name} one"}).status_code == 201
        for client in both:
            assert hits(client, "which one", f"/collections/{name}/search")
    for number, name in zip(range(8), cycle(["blue", "green"]), strict=False):
        switched = both[number % 3 % 2].put("/aliases/live", json={"collection": name})
        assert switched.status_code == 200, switched.text
        for client in both:
            found = hits(client, "which one", "/collections/live/search")
            assert [hit["text"] for hit in found] == [f"The {name} one"]
    for client, name in zip(both, ("green", "blue"), strict=True):
        client.delete("/aliases/live")
        assert client.delete(f"/collections/{name}").status_code == 204
        for other in both:
            gone = other.post(f"/collections/{name}/search", json={"query": "one"})
            assert gone.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("GET", "/nothing", {}),
        ("GET", "/search", {}),
        ("HEAD", "/livez", {}),
        ("PUT", "/documents/x", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("PUT", "/documents/x", {"content": b"text"}),
        ("PUT", "/documents/x?if=1", {"json": {"text": "x"}, "headers": {"If-Match": '"7"'}}),
        ("GET", "/documents/none", {"headers": {"X-Request-ID": "of-the-caller"}}),
        ("GET", "/documents", {"headers": {"Authorization": "Bearer wrong"}}),
        ("POST", "/search", {"json": {"query": "x"}, "headers": {"Authorization": ""}}),
        ("POST", "/search", {"json": {"query": ""}}),
        ("POST", "/collections/nowhere/search", {"json": {"query": "x"}}),
        ("POST", "/similarity", {"json": {"pairs": [{"a": "x", "b": "y"}]}}),
    ],
)
def test_errors_are_the_same(
    both: list[httpx.Client], method: str, path: str, sent: dict[str, Any]
) -> None:
    answers = [client.request(method, path, **sent) for client in both]
    seen = [
        (
            answer.status_code,
            re.sub(r'"request_id":"[^"]*"', "", answer.text),
            sorted(name for name, _ in answer.headers.multi_items()),
            answer.headers.get("X-Request-ID") == "of-the-caller",
        )
        for answer in answers
    ]
    assert answers[0].status_code != 503
    assert seen[0] == seen[1]


def test_uploads_events_and_snapshots_pass_through_the_reader(
    server: Running, both: list[httpx.Client]
) -> None:
    reader = both[1]
    lines = b"".join(b'{"id": "bulk%d", "text": "Mooring number %d"}\n' % (i, i) for i in range(20))
    job = reader.post(
        "/documents/bulk",
        content=iter([lines[:500], lines[500:], b"not JSON\n"]),  # of unknown length
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert job.status_code == 202, job.text
    with reader.stream("GET", f"/jobs/{job.json()['job_id']}/events") as events:
        assert events.headers["Content-Type"].startswith("text/event-stream")
        followed = "".join(events.iter_text())
    assert "event: end" in followed
    assert '"done":20' in followed
    assert '"refused":1' in followed
    snapshots = [client.get("/collections/main/snapshot").content for client in both]
    assert len(snapshots[0]) > 10_000
    assert len(snapshots[0]) == len(snapshots[1])
    restored = reader.post(
        "/collections/again/restore",
        content=snapshots[1],
        headers={"Content-Type": "application/x-tar"},
    )
    assert restored.status_code == 201, restored.text
    for client in both:
        assert "bulk19" in {hit["id"] for hit in hits(client, "x", "/collections/again/search")}


def test_a_large_upload_takes_no_memory_on_its_way(
    server: Running, both: list[httpx.Client]
) -> None:
    def peak() -> int:
        status = Path(f"/proc/{server.reader()}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024

    piece, before = b"\0" * MIB, peak()
    answer = both[1].post(
        "/collections/zeros/restore",
        content=(piece for _ in range(96)),
        headers={"Content-Type": "application/x-tar"},
    )
    assert answer.status_code == 422, answer.text
    assert peak() - before < 32


def talk(server: Running, head: str) -> list[socket.socket]:
    """Both processes, each told the beginning of a request."""
    host, port = server.url.removeprefix("http://").split(":")
    sockets = []
    for _ in range(2):
        connection = socket.create_connection((host, int(port)), timeout=20)
        lines = [head, f"Host: {host}", f"Authorization: Bearer {KEY}", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        sockets.append(connection)
    return sockets


@pytest.mark.parametrize("expect", ["", "\r\nExpect: 100-continue"])
def test_a_refusal_does_not_wait_for_the_upload(
    server: Running, both: list[httpx.Client], expect: str
) -> None:
    head = f"POST /documents/bulk HTTP/1.1\r\nContent-Length: {10**12}{expect}"
    for connection in talk(server, head):
        with connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_who_waits_to_be_asked_is_asked(server: Running, both: list[httpx.Client]) -> None:
    body = b'{"text": "Slack water"}'
    head = f"PUT /documents/slack HTTP/1.1\r\nContent-Length: {len(body)}\r\nConnection: close"
    head += "\r\nContent-Type: application/json\r\nExpect: 100-continue"
    for connection in talk(server, head):
        with connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body)
            answer = b"".join(iter(lambda c=connection: c.recv(65536), b""))
            assert re.match(rb"HTTP/1.1 20[01] ", answer), answer


def test_an_upload_that_is_given_up_leaves_nothing(
    server: Running, both: list[httpx.Client]
) -> None:
    def spooled() -> list[str]:
        return [path.name for path in (server.settings.data_dir / "jobs").iterdir()]

    before = spooled()
    head = f"POST /documents/bulk HTTP/1.1\r\nContent-Length: {2 * PIECE}"
    connections = talk(server, f"{head}\r\nContent-Type: application/x-ndjson")
    for connection in connections:
        connection.sendall(b" " * PIECE)  # less than that is not kept on the disk yet
    end = time.monotonic() + 20
    while len(spooled()) < len(before) + 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    for connection in connections:
        connection.close()
    while spooled() != before:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_all_end_when_the_server_is_asked_to(server: Running) -> None:
    reader = server.reader()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=20) in {0, -signal.SIGTERM}
    assert not is_running(reader)
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "ferry" not in log
    assert log.count("Finished server process") == 2, "both had time to"


def is_running(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
