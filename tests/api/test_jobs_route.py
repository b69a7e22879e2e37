"""Bulk uploads and jobs over HTTP, with a stand-in for the encoder."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from secondpass_client import AsyncSearchClient, Job, NotFoundError, SearchClient
from service.api.app import create_app
from service.engine import bulk_jobs as jobs_module
from service.engine.engine import Engine
from service.errors import StoreError
from service.scheduling import gate
from service.settings import Settings
from service.store.key_file import hash_key
from tests.fixtures.bulk import line, lines
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.serving import Borrowed, bulk_engine, serving

NDJSON = {"Content-Type": "application/x-ndjson"}
MAX_BYTES = 200_000
FINAL = {"done", "failed", "cancelled"}


class Gated(HashEncoder):
    """Encodes passages while the gate is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()

    def encode_passages(self, texts):
        assert self.open.wait(30)
        return super().encode_passages(texts)


@pytest.fixture(scope="module")
def encoder() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, encoder: Gated) -> Iterator[Engine]:
    with bulk_engine(tmp_path_factory.mktemp("data"), encoder, MAX_BYTES) as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    """A real server on a port of the loopback: streams are streams there."""
    hashes = frozenset({hash_key("right")})
    with serving(engine, Settings(max_bulk_bytes=MAX_BYTES, api_key_hashes=hashes)) as address:
        yield address


@pytest.fixture
def client(address: str, encoder: Gated) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer right"}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        yield client
        encoder.open.set()
        for job in client.get("/jobs").json()["jobs"]:
            wait_for(client, job["job_id"])


def send(client: httpx.Client, data: Any, path: str = "/documents/bulk", **headers: str) -> str:
    answer = client.post(path, content=data, headers={**NDJSON, **headers})
    assert answer.status_code == 202, answer.text
    assert list(answer.json()) == ["job_id"]
    return answer.json()["job_id"]


def wait_for(client: httpx.Client, id_: str) -> dict[str, Any]:
    end = time.monotonic() + 30
    while (job := client.get(f"/jobs/{id_}").json())["state"] not in FINAL:
        assert time.monotonic() < end, job
        time.sleep(0.01)
    return job


def problem(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    return answer.json()["error"]["message"]


def spooled(engine: Engine) -> list[Path]:
    return list((engine.folder.path / "jobs").iterdir())


def test_an_upload_becomes_a_job_and_the_job_documents(client: httpx.Client) -> None:
    data = lines(100) + b"{\n" + b'{"id": "x"}\n' + b'{"id": "y", "text": "t", "text": "u"}\n'
    job = wait_for(client, send(client, data))
    assert (job["state"], job["done"], job["refused"], job["total"]) == ("done", 100, 3, 103)
    assert (job["collection"], job["bytes"], job["reason"]) == ("main", len(data), None)
    assert job["rate"] > 0
    assert job["seconds_left"] == 0
    assert [(r["line"], r["id"], r["field"]) for r in job["refusals"]] == [
        (101, None, None),
        (102, "x", "text"),
        (103, None, "text"),
    ]
    assert (
        job["refusals"][2]["reason"] == 'the key "text" appears twice in one object, at column 26'
    )
    assert client.get("/documents/r99").json()["indexed"] is True
    found = client.post("/search", json={"query": "The 99th ferry leaves pier 1 at 3:00."})
    assert found.json()["hits"][0]["id"] == "r99"


@pytest.mark.parametrize("name", ["main", "default"])
def test_a_collection_or_alias_may_be_named(client: httpx.Client, name: str) -> None:
    job = wait_for(client, send(client, lines(3), f"/collections/{name}/documents/bulk"))
    assert (job["state"], job["collection"]) == ("done", "main")


def test_an_unknown_collection_is_404_and_nothing_is_kept(
    client: httpx.Client, engine: Engine
) -> None:
    answer = client.post("/collections/none/documents/bulk", content=lines(3), headers=NDJSON)
    problem(answer, 404, "not_found")
    assert spooled(engine) == []


def test_a_repeated_upload_is_the_same_job_and_another_one_409(
    client: httpx.Client, engine: Engine
) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first = send(client, lines(3), **key)
    assert send(client, iter([lines(2), line(2)]), **key) == first
    answer = client.post("/documents/bulk", content=lines(4), headers={**NDJSON, **key})
    assert "another upload" in problem(answer, 409, "conflict")
    wait_for(client, first)
    assert send(client, lines(3), **key) == first
    assert spooled(engine) == []


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é".encode("latin-1")])
def test_a_key_that_is_none_is_refused(client: httpx.Client, key: str | bytes) -> None:
    answer = client.post(
        "/documents/bulk", content=lines(1), headers={**NDJSON, "Idempotency-Key": key}
    )
    assert "Idempotency-Key" in str(answer.json()["error"]["details"])
    problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {},
        {**NDJSON, "Content-Encoding": "br"},
    ],
)
def test_another_type_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post("/documents/bulk", content=lines(1), headers=headers)
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("is_declared", [True, False])
def test_too_large_an_upload_is_413_and_nothing_is_kept(
    client: httpx.Client, engine: Engine, is_declared: bool
) -> None:
    data = b"x" * (MAX_BYTES + 1)
    content = data if is_declared else iter([data[:100_000], data[100_000:]])
    answer = client.post("/documents/bulk", content=content, headers=NDJSON)
    assert str(MAX_BYTES) in problem(answer, 413, "body_too_large")
    assert spooled(engine) == []
    assert wait_for(client, send(client, b"\n" * MAX_BYTES))["total"] == 0


def test_of_an_upload_whose_client_goes_away_nothing_is_kept(
    client: httpx.Client, engine: Engine, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PIECE", 10)  # what is shorter is not written before its end
    before = client.get("/jobs").json()
    with socket.create_connection(("127.0.0.1", httpx.URL(address).port)) as connection:
        connection.sendall(
            b"POST /documents/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\n"
            b"Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n" + line(0)
        )
        end = time.monotonic() + 10
        while not spooled(engine):
            assert time.monotonic() < end
    while spooled(engine):
        assert time.monotonic() < end
    assert client.get("/jobs").json() == before


def test_jobs_are_listed_the_newest_first(client: httpx.Client) -> None:
    ids = [send(client, lines(n)) for n in (1, 2, 3)]
    listed = client.get("/jobs", params={"limit": 2}).json()["jobs"]
    assert [job["job_id"] for job in listed] == ids[:0:-1]
    assert "refusals" not in listed[0]
    for limit in (0, 1001):
        problem(client.get("/jobs", params={"limit": limit}), 422, "invalid_request")


def test_a_job_that_runs_is_cancelled_and_keeps_what_it_has(
    client: httpx.Client, encoder: Gated
) -> None:
    encoder.open.clear()
    rows = b"".join(line(i, f"cancelled row {i}") for i in range(300))
    id_, queued = send(client, rows), send(client, lines(3))
    assert client.get(f"/jobs/{queued}").json()["state"] == "queued"
    assert client.delete(f"/jobs/{queued}").json()["state"] == "cancelled"
    assert client.delete(f"/jobs/{id_}").json()["state"] == "cancelled"
    encoder.open.set()
    later = wait_for(client, send(client, lines(1)))
    assert later["state"] == "done"
    assert client.get(f"/jobs/{id_}").json()["done"] == 64
    assert client.delete(f"/jobs/{id_}").json()["state"] == "cancelled"


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/events")])
def test_an_unknown_job_is_404(client: httpx.Client, method: str, path: str) -> None:
    problem(client.request(method, f"/jobs/none{path}"), 404, "not_found")


def test_without_a_key_nothing_is_told_or_taken(address: str, engine: Engine) -> None:
    for method, path in (
        ("POST", "/documents/bulk"),
        ("GET", "/jobs"),
        ("GET", "/jobs/x"),
        ("DELETE", "/jobs/x"),
        ("GET", "/jobs/x/events"),
    ):
        answer = httpx.request(method, address + path, headers=NDJSON)
        problem(answer, 401, "unauthorized")
    assert spooled(engine) == []


def test_events_follow_a_job_to_its_end(client: httpx.Client, encoder: Gated) -> None:
    encoder.open.clear()
    id_ = send(client, b"".join(line(i, f"followed row {i}") for i in range(200)))
    events: list[tuple[str, dict[str, Any]]] = []
    with client.stream("GET", f"/jobs/{id_}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for text in answer.iter_lines():
            if text.startswith("event: "):
                kind = text.removeprefix("event: ")
            if text.startswith("data: "):
                events.append((kind, json.loads(text.removeprefix("data: "))))
                encoder.open.set()
    assert [kind for kind, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    assert events[0][1]["done"] == 0
    assert events[-1][0] == "end"
    assert events[-1][1] == client.get(f"/jobs/{id_}").json()
    assert events[-1][1]["done"] == 200
    counts = [job["done"] for _, job in events]
    assert counts == sorted(counts)


def test_events_of_a_job_that_has_ended_are_one(client: httpx.Client) -> None:
    id_ = send(client, lines(1))
    wait_for(client, id_)
    text = client.get(f"/jobs/{id_}/events").text
    assert text.count("data:") == 1
    assert "event: end" in text


def test_head_of_events_does_not_follow_them(
    client: httpx.Client, engine: Engine, encoder: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.state.MOST_STREAMS", 1)
    encoder.open.clear()  # the job runs until the end of the test
    events = f"/jobs/{send(client, line(0, 'never followed'))}/events"
    with (
        serving(engine, Settings()) as address,
        httpx.Client(base_url=address, timeout=10) as other,
    ):
        for _ in range(5):
            while (answer := other.head(events)).status_code == 429:
                time.sleep(0.01)  # the stream before is about to end
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.content == b""


def test_more_streams_than_the_server_takes_are_told_to_come_again(
    client: httpx.Client, engine: Engine, encoder: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.state.MOST_STREAMS", 1)
    encoder.open.clear()
    events = f"/jobs/{send(client, line(0, 'followed twice'))}/events"
    with (
        serving(engine, Settings()) as address,
        httpx.Client(base_url=address, timeout=60) as other,
    ):
        with other.stream("GET", events) as answer:
            events_so_far = answer.iter_lines()
            next(events_so_far)
            problem(other.get(events), 429, "overloaded")
        encoder.open.set()
        while (answer := other.get(events)).status_code == 429:  # until it is seen to be gone
            time.sleep(0.01)
        assert "event: end" in answer.text


def test_a_full_disk_is_507(client: httpx.Client, engine: Engine, monkeypatch) -> None:
    opened = Path.open

    def full(path: Path, *mode: Any, **more: Any) -> Any:
        return (
            opened(Path("/dev/full"), "wb", buffering=0)
            if path.suffix == ".partial"
            else opened(path, *mode, **more)
        )

    monkeypatch.setattr(Path, "open", full)
    answer = client.post("/documents/bulk", content=lines(1), headers=NDJSON)
    assert "/dev" not in problem(answer, 507, "disk_full")
    assert spooled(engine) == []


def test_too_many_uploads_are_429(client: httpx.Client, engine: Engine, monkeypatch) -> None:
    monkeypatch.setattr(engine.jobs, "_uploads", jobs_module.Gate(0, "uploads"))
    answer = client.post("/documents/bulk", content=lines(1), headers=NDJSON)
    problem(answer, 429, "overloaded")
    assert answer.headers["Retry-After"]


def test_metrics_count_the_jobs_that_wait(client: httpx.Client, encoder: Gated) -> None:
    encoder.open.clear()
    send(client, line(0, "one that waits"))
    assert "secondpass_jobs_unfinished 1.0" in client.get("/metrics").text


def test_a_metric_that_cannot_be_read_is_no_number_and_no_failure(
    client: httpx.Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> int:
        raise StoreError("cannot use /srv/jobs.db: it is damaged")

    monkeypatch.setattr(engine.jobs._store, "count_unfinished", fails)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "secondpass_jobs_unfinished NaN" in answer.text
    assert "secondpass_documents{" in answer.text


def test_a_server_without_jobs_says_so(engine: Engine) -> None:
    with TestClient(create_app(Settings(), lambda: Borrowed(engine, jobs=None))) as client:
        while client.get("/readyz").status_code != 200:
            pass
        assert client.get("/jobs").json()["error"]["code"] == "not_available"


# The clients


def test_the_client_uploads_follows_lists_and_cancels(address: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(lines(150) + b"{\n")
    seen: list[Job] = []
    with SearchClient(address, api_key="right") as client:
        id_ = client.bulk(path, idempotency_key="from-a-file")
        assert client.bulk(str(path), idempotency_key="from-a-file") == id_
        job = client.wait(id_, seen.append)
        assert (job.state, job.done, job.refused, job.total) == ("done", 150, 1, 151)
        assert seen[-1] == job == client.job(id_)
        assert job.refusals[0].line == 151
        assert client.jobs(limit=1)[0].job_id == id_
        assert client.cancel(id_).state == "done"
        documents = [{"id": f"c{i}", "text": f"Của tôi {i}"} for i in range(3)]
        for source in (documents, iter(documents), (d for d in documents)):
            assert client.wait(client.bulk(source, collection="default")).done == 3
        for call in (client.job, client.cancel, client.wait):
            with pytest.raises(NotFoundError):
                call("none")


def test_the_async_client_does_the_same(address: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(lines(150))

    async def documents() -> AsyncIterator[dict[str, str]]:
        for i in range(3):
            yield {"id": f"c{i}", "text": f"Của tôi {i}"}

    async def use() -> None:
        seen: list[Job] = []
        async with AsyncSearchClient(address, api_key="right") as client:
            id_ = await client.bulk(path, idempotency_key="async")
            assert await client.bulk(path, idempotency_key="async") == id_
            job = await client.wait(id_, seen.append)
            assert (job.state, job.done) == ("done", 150)
            assert seen[-1] == job == await client.job(id_)
            assert (await client.jobs(limit=1))[0].job_id == id_
            assert (await client.cancel(id_)).state == "done"
            for source in (documents(), [{"id": "c", "text": "d"}]):
                job = await client.wait(await client.bulk(source, collection="main"))
                assert job.state == "done"
            with pytest.raises(NotFoundError):
                await client.wait("none")

    asyncio.run(use())
