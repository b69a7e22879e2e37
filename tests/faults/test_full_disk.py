"""A disk that is full or turns read-only, over HTTP: writes are refused, searches go on."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.durable import is_full
from service.engine.bulk_jobs import Jobs
from service.errors import StoreError, StoreFullError
from service.index.faiss_index import FaissIndex
from service.settings import Settings
from service.store.document_store import DocumentStore
from service.store.reserve import Reserve
from service.types import DocumentLimits, Filters
from service.write import indexer
from tests.faults.ferries import TEXTS, Serve, answers, fill, put, until
from tests.fixtures.hash_models import hash_settings, open_hash_engine

NDJSON = {"content-type": "application/x-ndjson"}


@contextmanager
def limited(store: DocumentStore) -> Iterator[None]:
    """No room for another page of the database."""
    with store._database.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    yield
    with store._database.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")


def test_a_full_database_answers_507_searches_go_on_and_writes_work_with_room_again(
    settings: Settings, serve: Serve
) -> None:
    long = "a long ferry " * 2000
    with serve(settings) as client:
        fill(client)
        right = answers(client)
        store = client.app.state.server.engine.collection().folder.store
        with limited(store):
            assert put(client, "long", long) == 507
            assert answers(client) == right
            assert client.get("/documents/long").status_code == 404
            assert client.get("/readyz").status_code == 200
        assert put(client, "long", long) == 201
        client.delete("/documents/long")
    with serve(settings) as client:
        assert answers(client) == right


def test_what_waits_when_the_disk_fills_is_indexed_once_there_is_room(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text fits, its vectors do not: it is not lost, and `/readyz` says what it waits for."""
    monkeypatch.setattr(indexer, "_PAUSE_S", 0.05)
    with serve(settings) as client, monkeypatch.context() as patched:
        fill(client)
        right = answers(client)

        def full(*_: object) -> None:
            raise StoreFullError("cannot use the store: the disk is full")

        patched.setattr(DocumentStore, "publish", full)
        assert client.put("/documents/new", json={"text": "a new ferry"}).status_code == 201
        until(lambda: "disk is full" in str(client.get("/readyz").json()["notes"]))
        assert answers(client) == right
        assert client.get("/documents/new").json()["indexed"] is False
        patched.undo()
        until(lambda: client.get("/documents/new").json()["indexed"] is True)
        until(lambda: "disk is full" not in str(client.get("/readyz").json()["notes"]))


def test_a_disk_that_is_really_full(small_disk: Path, serve: Serve) -> None:
    settings = hash_settings(small_disk / "data")
    with serve(settings) as client:
        fill(client)
        client.app.state.server.engine.collection().indexer.compact()
        right, ballast = answers(client), small_disk / "ballast"
        fill_up(ballast)
        text = "a long ferry " * 5000
        assert put(client, "new", text) == 507
        with pytest.raises(StoreFullError, match="No space left"):
            client.app.state.server.engine.collection().indexer.compact()
        catalog = client.app.state.server.engine.folder.catalog
        with pytest.raises(StoreFullError):
            catalog.set_alias("news", "main")
        assert answers(client) == right
        assert client.get("/documents/d1").json()["text"] == TEXTS["d1"]
        assert client.get("/readyz").status_code == 200
        assert client.delete("/documents/never-there").status_code == 204
        ballast.unlink()
        assert put(client, "new", text) == 201
        assert client.delete("/documents/new").status_code == 204
        client.app.state.server.engine.collection().indexer.compact()
        assert answers(client) == right
        fill_up(ballast)
    # A start on a full disk: with nothing to write it serves, whatever cannot be written.
    with serve(settings) as client:
        assert answers(client) == right
        assert put(client, "new", text) == 507


def test_what_is_on_a_full_disk_can_be_deleted(small_disk: Path, serve: Serve) -> None:
    """One by one, by ids, by filters, as a job and as a collection; each lets go of something."""
    settings = hash_settings(small_disk / "data", hnsw_threshold=1000)
    with serve(settings) as client:
        fill(client)
        rows = [{"id": f"n{i}", "text": "old ferry " * 200, "metadata": {"n": i}} for i in range(9)]
        assert client.post("/documents?wait=true", json={"documents": rows}).status_code == 200
        assert client.post("/collections", json={"name": "other"}).status_code == 201
        assert client.put("/aliases/spare", json={"collection": "main"}).status_code == 200
        engine = client.app.state.server.engine
        engine.collections["main"].indexer.close()  # nothing but what is asked for is written
        engine.jobs.close()
        engine.jobs = Jobs(
            settings.data_dir, engine.target, DocumentLimits(), engine.folder.reserve
        )
        job = client.post("/documents/bulk", content=b"{}\n", headers=NDJSON).json()["job_id"]
        fill_up(small_disk / "ballast")
        assert put(client, "new", "a long ferry " * 5000) == 507
        gone = client.post("/documents/delete", json={"ids": ["n1", "n2"]})
        assert gone.json() == {"deleted": 2}, gone.text
        gone = client.post("/documents/delete", json={"filters": {"n": {"gte": 3}}})
        assert gone.json() == {"deleted": 6}, gone.text
        assert client.delete("/documents/n0").status_code == 204
        assert client.get("/documents/n0").status_code == 404
        assert client.delete(f"/jobs/{job}").json()["state"] == "cancelled"
        assert client.delete("/aliases/spare").status_code == 204
        assert client.delete("/collections/other").status_code == 204
        assert (settings.data_dir / ".reserve").stat().st_size > 0, "it is there for the next"
        for id_ in TEXTS:
            assert client.delete(f"/documents/{id_}").status_code == 204
        assert client.get("/documents").json()["documents"] == []


def test_a_filter_deletes_fewer_at_a_time_where_the_space_is_short(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    delete = DocumentStore.delete_matching

    def short_of_space(store: DocumentStore, filters: Filters, limit: int) -> int:
        asked.append(limit)
        if limit > 10:
            raise StoreFullError("the disk is full")
        return delete(store, filters, limit)

    with serve(settings) as client:
        rows = [{"id": f"n{i}", "text": "old ferry", "metadata": {"n": i}} for i in range(15)]
        client.post("/documents", json={"documents": rows})
        monkeypatch.setattr(DocumentStore, "delete_matching", short_of_space)
        gone = client.post("/documents/delete", json={"filters": {"n": {"gte": 1}}})
        assert gone.json() == {"deleted": 14}
        assert asked == [1000, 100, 10, 10, 10]


def test_the_reserve_outlives_a_stop_on_a_full_disk(small_disk: Path, serve: Serve) -> None:
    settings = hash_settings(small_disk / "data")
    with serve(settings) as client:
        fill(client)
        fill_up(small_disk / "ballast")
    with serve(settings) as client:
        assert client.delete("/documents/d1").status_code == 204
        assert client.get("/documents/d1").status_code == 404


def test_the_reserve_stays_as_large_as_it_was(small_disk: Path) -> None:
    """Each delete on a full disk uses a little of it; none may leave a share of the rest only."""
    reserve = Reserve(small_disk / ".reserve")
    reserve.keep(1 << 20)
    before = (small_disk / ".reserve").stat().st_size
    ballast, log = small_disk / "ballast", small_disk / "log"
    fill_up(ballast)

    def work() -> None:
        try:
            log.write_bytes(b"x" * 65536)
        except OSError as error:
            raise StoreFullError("the disk is full") from error

    for _ in range(4):
        reserve.spend(work, log.unlink)
        assert (small_disk / ".reserve").stat().st_size == before


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_compaction_that_cannot_write_is_told_and_searches_go_on(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    reason = OSError(code, "No room, or no right")

    def fail(*_: object) -> None:
        raise reason

    monkeypatch.setattr(indexer, "_PAUSE_S", 0.05)
    monkeypatch.setattr(indexer, "worth_building", lambda _base, changes, _threshold: changes > 0)
    with serve(settings) as client, monkeypatch.context() as patched:
        patched.setattr(FaissIndex, "save", fail)
        fill(client)
        right = answers(client)
        until(lambda: "compactor: " in str(client.get("/readyz").json()["notes"]))
        assert put(client, "new") == 201
        assert client.delete("/documents/new").status_code == 204
        assert answers(client) == right
        names = [path.name for path in (settings.data_dir / "generations").iterdir()]
        assert len(names) == 1, "what could not be written is left behind"
        patched.undo()
        until(lambda: "compactor: " not in str(client.get("/readyz").json()["notes"]))
        assert answers(client) == right
    assert is_full(reason) == (code == errno.ENOSPC)


def test_a_file_system_that_turns_read_only_stops_writes_and_no_search(
    settings: Settings, serve: Serve
) -> None:
    with serve(settings) as client:
        fill(client)
        right = answers(client)
        writer = client.app.state.server.engine.collection().folder.store._database._writer
        writer.execute("PRAGMA query_only = ON")  # SQLite's own error for a read-only file
        assert put(client, "new") == 503
        assert client.delete("/documents/d1").status_code == 503
        assert answers(client) == right
        assert client.get("/documents/d1").json()["text"] == TEXTS["d1"]
        writer.execute("PRAGMA query_only = OFF")
        assert put(client, "new") == 201


def test_a_start_on_a_read_only_disk_says_so(small_disk: Path, serve: Serve) -> None:
    settings = hash_settings(small_disk / "data")
    with serve(settings) as client:
        fill(client)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match=r"cannot use .*[Rr]ead-only file system"):
        open_hash_engine(settings)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with serve(settings) as client:
        answers(client)
