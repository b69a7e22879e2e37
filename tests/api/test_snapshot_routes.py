"""Snapshots over HTTP: out while writes go on, in as a new collection, or not at all."""

import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.errors import StoreFullError
from service.settings import Settings
from service.store import snapshot as snapshot_module
from service.store import spool_space
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import ROWS, error, fill, running, until
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.snapshots import signed, unpacked

TAR = {"content-type": "application/x-tar"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hash_settings(tmp_path / "data", max_snapshot_bytes=1_000_000)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        fill(client)
        yield client


def download(client: TestClient, name: str = "main") -> bytes:
    answer = client.get(f"/collections/{name}/snapshot")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-tar"
    return answer.content


def restore(client: TestClient, name: str, content: Any, query: str = "") -> Any:
    return client.post(f"/collections/{name}/restore{query}", content=content, headers=TAR)


def hits(client: TestClient, name: str) -> list[Any]:
    body = {"query": DOCUMENTS[3].text, "rerank": False}
    answer = client.post(f"/collections/{name}/search", json=body)
    return [(hit["id"], hit["retrieval_score"]) for hit in answer.json()["hits"]]


def nothing_is_left(client: TestClient, settings: Settings, name: str) -> bool:
    folder = settings.data_dir / "collections"
    return (
        client.get(f"/collections/{name}").status_code == 404
        and not (folder.exists() and list(folder.iterdir()))
        and not [p for p in settings.data_dir.iterdir() if "tmp" in p.name or "tar" in p.name]
    )


def test_what_was_taken_is_found_again_in_a_new_collection(client: TestClient) -> None:
    before = client.get("/documents/sea-tides")
    content = download(client, "default")
    client.put("/documents/sea-tides", json={"text": "something else"})
    answer = restore(client, "again", content)
    assert answer.status_code == 201, answer.text
    assert answer.json()["documents"] == len(ROWS)
    after = client.get("/collections/again/documents/sea-tides")
    assert (after.json(), after.headers["etag"]) == (before.json(), before.headers["etag"])
    client.put("/documents/sea-tides", json=ROWS[5] | {"id": "sea-tides"})
    until(lambda: client.get("/collections/main").json()["staged"] == 0)
    assert hits(client, "again") == hits(client, "main")
    assert client.put("/collections/again/documents/new", json={"text": "x"}).status_code == 201


def test_it_is_of_one_moment_while_writes_go_on(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "DOCUMENTS_BYTES", 500)
    ended = threading.Event()

    def write() -> None:
        n = 0
        while not ended.is_set():
            # Both or neither: a snapshot between the two would show one of them.
            pair = [{"id": f"{side}{n}", "text": f"pair {n}"} for side in "ab"]
            client.post("/documents", json={"documents": pair})
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        contents = [download(client) for _ in range(5)]
    finally:
        ended.set()
        writer.join()
    for n, content in enumerate(contents):
        made = restore(client, f"s{n}", content)
        assert made.status_code == 201, made.text
        found = client.get(f"/collections/s{n}/documents?limit=1000").json()["documents"]
        ids = {document["id"] for document in found}
        assert {i[1:] for i in ids if i[0] == "a" and i[1:].isdigit()} == {
            i[1:] for i in ids if i[0] == "b" and i[1:].isdigit()
        }


def test_documents_that_wait_are_in_it_and_wait_again(client: TestClient) -> None:
    engine = client.app.state.server.engine
    engine.collection().indexer.close()
    client.put("/documents/later", json={"text": "encoded later"})
    content = download(client)
    assert restore(client, "again", content).status_code == 201
    until(lambda: client.get("/collections/again").json()["documents"] == len(ROWS) + 1)


def test_damage_is_refused_and_leaves_nothing(client: TestClient, settings: Settings) -> None:
    content = download(client)
    damaged = [
        content[: len(content) // 2],
        content[:-1],
        content + b"x",
        b"",
        b"no tar",
        content.replace(b"tomatoes", b"potatoes", 1),
        content.replace(b"vectors-00001.npy", b"../ectors-001.npy", 1),
        bytes(reversed(content)),
    ]
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w") as tar:
        link = tarfile.TarInfo("documents-00001.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    damaged.append(packed.getvalue())
    for wrong in damaged:
        assert error(restore(client, "again", wrong)) == (422, "invalid_request")
        assert nothing_is_left(client, settings, "again")
    assert restore(client, "again", content).status_code == 201


def test_another_models_vectors_are_refused_unless_they_are_made_anew(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    content = download(client)
    other = hash_settings(tmp_path / "other", encoder="minilm-l6")
    with running(other) as there:
        answer = restore(there, "again", content)
        assert error(answer) == (409, "conflict")
        message = answer.json()["error"]["message"]
        assert "e5-small's, not those of minilm-l6: weights_sha256 is" in message
        assert nothing_is_left(there, other, "again")
        assert restore(there, "again", content, "?re_embed=true").status_code == 201
        until(lambda: there.get("/collections/again").json()["staged"] == 0)
        made = there.get("/collections/again").json()
        assert (made["documents"], made["encoder"]["model"]) == (len(ROWS), "minilm-l6")
        assert hits(there, "again")[0][0] == "garden-tomato"


def test_a_collections_own_settings_come_back_where_they_are_allowed(
    client: TestClient, tmp_path: Path
) -> None:
    own = {"encoder": "minilm-l6", "rerank_depth": 5}
    client.post("/collections", json={"name": "a", "settings": own})
    content = download(client, "a")
    assert restore(client, "b", content).json()["settings"] == own
    made = restore(client, "c", content, "?re_embed=true").json()
    assert (made["settings"], made["encoder"]["model"]) == ({"rerank_depth": 5}, "e5-small")
    for model in ("/models/x", "intfloat/multilingual-e5-large"):
        forbidden = signed(unpacked(content), settings={"encoder": model})
        refused = restore(client, "d", forbidden)
        assert error(refused) == (422, "invalid_request")
        assert f"not {model!r}" in refused.json()["error"]["message"]


def test_requests_that_are_wrong_are_told_so(client: TestClient) -> None:
    content = download(client)
    for taken in ("main", "default"):
        assert error(restore(client, taken, content)) == (409, "conflict")
    assert error(restore(client, "A", content)) == (422, "invalid_request")
    assert error(client.get("/collections/no/snapshot")) == (404, "not_found")
    answer = client.post("/collections/a/restore", json={})
    assert error(answer) == (415, "unsupported_media_type")
    assert error(restore(client, "a", content, "?re_embed=perhaps")) == (422, "invalid_request")


def test_too_large_an_archive_is_refused_declared_or_not(
    client: TestClient, settings: Settings
) -> None:
    large = bytes(settings.max_snapshot_bytes + 1)
    assert error(restore(client, "a", large)) == (413, "body_too_large")
    pieces = (large[i : i + 100_000] for i in range(0, len(large), 100_000))
    assert error(restore(client, "a", pieces)) == (413, "body_too_large")
    assert nothing_is_left(client, settings, "a")


@pytest.mark.parametrize(
    "where",
    [
        "service.engine.making.fill",
        "service.store.document_store.DocumentStore.restore",
        "service.engine.making.build_index",
        "service.engine.collection_admin.open_collection",
        "service.store.catalog.Catalog._write",
    ],
)
def test_a_disk_that_is_full_at_any_step_is_507_and_leaves_nothing(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    content = download(client)

    def full(*_: object, **__: object) -> None:
        raise StoreFullError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        assert error(restore(client, "a", content)) == (507, "disk_full")
    assert nothing_is_left(client, settings, "a")
    assert restore(client, "a", content).status_code == 201


def test_arriving_archives_leave_half_of_the_disk(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = download(client)
    with monkeypatch.context() as patch:
        usage = SimpleNamespace(free=2 * len(content) - 2)
        patch.setattr(spool_space.shutil, "disk_usage", lambda _folder: usage)
        assert error(restore(client, "a", content)) == (507, "disk_full")
    space = client.app.state.server.spool_space
    with space.borrowed() as take, monkeypatch.context() as patch:
        usage = SimpleNamespace(free=2 * len(content))
        patch.setattr(spool_space.shutil, "disk_usage", lambda _folder: usage)
        take(len(content))
        assert error(restore(client, "a", content)) == (429, "overloaded")
    assert nothing_is_left(client, settings, "a")
    assert restore(client, "a", content).status_code == 201


def test_only_so_many_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    state = client.app.state.server
    content = download(client)
    for gate, ask in (
        (state.snapshots, lambda: client.get("/collections/main/snapshot")),
        (state.archives, lambda: restore(client, "a", content)),
        (state.restores, lambda: restore(client, "a", content)),
        (state.changes, lambda: client.post("/collections", json={"name": "a"})),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(gate, "_limit", 0)
            assert error(ask()) == (429, "overloaded")
    assert state.snapshots.in_flight == 0, "a download gives its permit back"


def test_a_download_that_is_broken_off_lets_go_of_the_store(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = client.app.state.server
    with client.stream("GET", "/collections/main/snapshot") as answer:
        next(answer.iter_raw())
    until(lambda: state.snapshots.in_flight == 0)

    def fails(*_: object) -> Iterator[bytes]:
        raise StoreFullError("the disk is full")
        yield b""

    monkeypatch.setattr("service.engine.making.write", fails)
    assert error(client.get("/collections/main/snapshot")) == (507, "disk_full")
    assert state.snapshots.in_flight == 0
