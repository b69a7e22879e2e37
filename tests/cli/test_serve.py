"""The server as a process: start, port taken, two on one folder, stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from secondpass_client import Hit, OverloadedError, SearchClient
from service.engine.ingestion import ingesting
from service.settings import Settings
from service.store.data_folder import DataFolder
from tests.fixtures.library import DOCUMENTS, QUESTIONS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, port: int, *flags: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "service",
            *f"serve --data-dir={folder} --port={port}".split(),
            *flags,
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def wait_until_ready(client: SearchClient, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not client.ready():
        assert time.monotonic() < end, "not ready in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    with DataFolder.open(path) as data, ingesting(data, Settings(data_dir=path)) as ingestor:
        ingestor.ingest(DOCUMENTS)
    return path


def test_serves_the_client_and_ends_cleanly_when_asked(folder: Path) -> None:
    port = free_port()
    with server(folder, port) as process, SearchClient(f"http://127.0.0.1:{port}") as client:
        wait_until_ready(client)
        result = client.search("why are there two high tides a day", top_k=2)
        assert result.hits[0].id == "sea-tides"
        assert result.hits[0].confidence in {"high", "medium"}
        assert result.request_id
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in log
    assert "high tides" not in log


def test_sixteen_threads_get_the_answers_of_one(folder: Path) -> None:
    port = free_port()
    with server(folder, port), SearchClient(f"http://127.0.0.1:{port}", retries=0) as client:
        wait_until_ready(client)
        alone = {query: client.search(query).hits for query in QUESTIONS}

        def ask(query: str) -> list[Hit] | None:
            try:
                return client.search(query).hits
            except OverloadedError:
                return None

        with ThreadPoolExecutor(16) as threads:
            asked = [query for query in QUESTIONS for _ in range(12)]
            answers = list(threads.map(ask, asked))
    answered = [(q, hits) for q, hits in zip(asked, answers, strict=True) if hits is not None]
    assert len(answered) >= len(QUESTIONS)
    assert all(hits == alone[query] for query, hits in answered)


def test_a_full_queue_says_when_to_come_again(folder: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/search"
    with (
        server(folder, port, "--max-queue=1"),
        SearchClient(f"http://127.0.0.1:{port}") as client,
        ThreadPoolExecutor(8) as threads,
    ):
        wait_until_ready(client)
        answers = list(threads.map(lambda _: httpx.post(url, json={"query": "tide"}), range(40)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert client.search("tide").hits, "the client waits as it is told"


def test_a_taken_port_is_told_at_once(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with server(folder, port) as process:
            _, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in log
    assert "another program listens there" in log
    assert "Traceback" not in log


def test_one_that_is_loading_ends_at_once_when_asked(folder: Path) -> None:
    with server(folder, free_port()) as process:
        assert process.stderr is not None
        assert any("listening on" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert "ready:" not in log
    assert "Traceback" not in log


def test_a_second_server_on_the_folder_refuses_to_start(folder: Path) -> None:
    first_port = free_port()
    with server(folder, first_port), SearchClient(f"http://127.0.0.1:{first_port}") as client:
        wait_until_ready(client)
        with server(folder, free_port()) as second:
            _, log = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another process uses the data folder" in log
        assert "Traceback" not in log
        assert client.search("tides").hits


def test_a_killed_server_starts_again(folder: Path) -> None:
    for _ in range(2):
        port = free_port()
        with server(folder, port) as process, SearchClient(f"http://127.0.0.1:{port}") as client:
            wait_until_ready(client)
            assert client.search("tides").index.documents == len(DOCUMENTS)
            os.kill(process.pid, signal.SIGKILL)
