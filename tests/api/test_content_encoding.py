"""Bodies that are compressed: gzip on every route, bounded while it is inflated, nothing else."""

import asyncio
import gc
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException

from service.api.body import Inflated
from service.settings import Settings
from tests.fixtures.hash_server import ROWS, running, until
from tests.fixtures.routes import ROUTES

JSON, NDJSON, TAR = "application/json", "application/x-ndjson", "application/x-tar"
MIB = 1 << 20


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(Settings(data_dir=tmp_path_factory.mktemp("data"), max_bulk_bytes=4 * MIB)) as it:
        yield it


def kind_of(path: str) -> str:
    return NDJSON if path.endswith("/bulk") else TAR if path.endswith("/restore") else JSON


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[0] in {"POST", "PUT"}])
def test_a_gzip_body_is_what_it_stands_for(client: TestClient, method: str, path: str) -> None:
    body = b'{"nonsense": 1}' if kind_of(path) != NDJSON else b""
    headers = {"Content-Type": kind_of(path)}
    plain = client.request(method, path, content=body, headers=headers)
    headers["Content-Encoding"] = "gzip"
    coded = client.request(method, path, content=gzip.compress(body), headers=headers)
    assert coded.status_code == plain.status_code < 500
    said = [answer.json().get("error", {}).get("details") for answer in (plain, coded)]
    assert said[0] == said[1]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate", "zstd"])
def test_another_coding_is_refused(client: TestClient, method: str, path: str, coding: str) -> None:
    headers = {"Content-Type": kind_of(path), "Content-Encoding": coding}
    answer = client.request(method, path, content=b"{}", headers=headers)
    assert answer.status_code == 415, answer.text
    assert answer.json()["error"]["code"] == "unsupported_media_type"
    assert "gzip" in answer.json()["error"]["message"]
    assert answer.headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("coding", ["gzip", "X-GZip", " gzip ,identity", "identity", ""])
def test_names_of_codings(client: TestClient, coding: str) -> None:
    body = json.dumps({"query": "tides"}).encode()
    content = gzip.compress(body) if "gzip" in coding.lower() else body
    headers = {"Content-Type": JSON, "Content-Encoding": coding}
    assert client.post("/search", content=content, headers=headers).status_code == 200


def test_documents_and_bulk_uploads_may_be_compressed(client: TestClient) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    content = gzip.compress(json.dumps({"documents": ROWS}).encode())
    answer = client.post("/documents", content=content, headers=headers)
    assert answer.json()["accepted"] == len(ROWS)
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    # As `cat a.gz b.gz` makes it: several members behind each other.
    content = b"".join(gzip.compress(line) for line in lines)
    headers["Content-Type"] = NDJSON
    answer = client.post("/documents/bulk", content=content, headers=headers)
    job = f"/jobs/{answer.json()['job_id']}"
    until(lambda: client.get(job).json()["state"] == "done")
    assert client.get(job).json()["done"] == len(ROWS)
    assert client.get(job).json()["bytes"] == sum(map(len, lines))


@pytest.mark.parametrize(
    "content",
    [
        b'{"query": "tides"}',
        b"",
        gzip.compress(b'{"query": "tides"}')[:-1],
        gzip.compress(b'{"query": "tides"}')[:-8] + bytes(8),
        gzip.compress(b'{"query": "tides"}') + b"and more",
        gzip.compress(b"") * 200,
    ],
    ids=["no gzip", "nothing", "cut", "wrong sum", "more behind", "many members"],
)
def test_broken_gzip_is_the_client_s_fault(client: TestClient, content: bytes) -> None:
    def chunks() -> Iterator[bytes]:  # of no declared length, so that an empty body counts too
        yield content

    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    answer = client.post("/search", content=chunks(), headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"].startswith("body: ")
    assert "gzip" in answer.json()["error"]["message"]


def bomb(path: Path, mib: int) -> bytes:
    file = path / "bomb.gz"
    if not file.exists():
        with gzip.open(file, "wb", compresslevel=9) as out:
            for _ in range(mib):
                out.write(b" " * MIB)
    return file.read_bytes()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/search", "1048576 bytes"),
        ("/documents", "more than 100 times"),
        ("/documents/bulk", "4194304 bytes"),
        ("/collections/new/restore", "more than 100 times"),
    ],
)
def test_a_bomb_is_refused_before_it_takes_room(
    client: TestClient, tmp_path: Path, path: str, said: str
) -> None:
    content = bomb(tmp_path, 200) if path != "/documents/bulk" else gzip.compress(noise(5 * MIB))
    headers = {"Content-Type": kind_of(path), "Content-Encoding": "gzip"}
    tracemalloc.start()
    try:
        answer = client.post(path, content=content, headers=headers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 413, answer.text
    assert said in answer.json()["error"]["message"]
    assert peak < 64 * MIB


def noise(bytes_: int) -> bytes:
    """Lines that do not compress a hundredfold."""
    return b"".join(b'{"n": %d}\n' % n for n in range(bytes_ // 10))


def test_the_event_loop_has_its_turns_while_a_large_body_is_inflated() -> None:
    body = noise(40 * MIB)
    content = gzip.compress(body, compresslevel=1)

    async def receive() -> dict:
        return {"type": "http.request", "body": content, "more_body": False}

    async def inflated() -> int:
        receiving = Inflated(receive, 64 * MIB).receive
        size = 0
        while (message := await receiving())["more_body"]:
            size += len(message["body"])
        return size

    async def longest_wait() -> tuple[float, float]:
        now = asyncio.get_running_loop().time
        begun = before = now()
        longest = 0.0
        inflating = asyncio.create_task(inflated())
        while not inflating.done():
            await asyncio.sleep(0)
            longest, before = max(longest, now() - before), now()
        assert await inflating == len(body)
        return longest, now() - begun

    gc.disable()
    try:
        longest, whole = asyncio.run(longest_wait())
    finally:
        gc.enable()
    assert longest < whole / 4


def test_pieces_are_small_and_the_end_is_told_once() -> None:
    data = [gzip.compress(bytes(900_000)), b""]

    async def receive() -> dict:
        body = data.pop(0) if data else None
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": bool(data)}

    async def all_parts() -> list[dict]:
        receiving = Inflated(receive, MIB).receive
        return [dict(await receiving()) for _ in range(6)]

    *parts, gone = asyncio.run(all_parts())
    assert [len(part["body"]) for part in parts] == [65536, 262144, 262144, 262144, 48032]
    assert gone == {"type": "http.request", "body": b"", "more_body": False}


def test_too_many_members_are_refused() -> None:
    content = b"".join(gzip.compress(b"x") for _ in range(500))

    async def receive() -> dict:
        return {"type": "http.request", "body": content, "more_body": False}

    async def read_all() -> None:
        receiving = Inflated(receive, MIB).receive
        while (await receiving())["more_body"]:
            pass

    with pytest.raises(HTTPException, match="too many small parts"):
        asyncio.run(read_all())
