"""What is known of bulk jobs, and stays known."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import ConflictError, NotFoundError, OverloadedError, StoreError
from service.store import job_store
from service.store.document_store import DocumentStore
from service.store.job_store import JobStep, JobStore, NewJob, Refusal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.db")
    yield store
    store.close()


def new(id_: str, key: str | None = None, sha256: str = "ab", asked: str = "default") -> NewJob:
    return NewJob(id_, "main", "", asked, key, sha256, bytes=100, total=10)


def refusal(line: int) -> Refusal:
    return Refusal(line, f"r{line}", "text", "is empty")


def test_a_new_job_is_queued_and_stays_after_a_restart(store: JobStore, tmp_path: Path) -> None:
    added = store.add(new("a"))
    assert (added.state, added.done, added.refused, added.total) == ("queued", 0, 0, 10)
    assert (added.rate, added.seconds_left, added.finished) == (None, None, None)
    store.close()
    again = JobStore(tmp_path / "jobs.db")
    assert again.get("a") == added
    again.close()


def test_checkpoints_add_up(store: JobStore) -> None:
    store.add(new("a"))
    assert store.begin("a").state == "running"
    store.checkpoint("a", JobStep(40, 4, done=3, seconds=1.5, refused=[refusal(2)]))
    job = store.checkpoint("a", JobStep(60, 6, done=2, seconds=0.5, refused=[]))
    assert (job.offset, job.line, job.done, job.refused, job.seconds) == (60, 6, 5, 1, 2.0)
    assert (job.rate, job.seconds_left) == (3.0, pytest.approx(4 / 3))
    assert store.refusals("a") == [refusal(2)]
    done = store.finish("a", "done")
    assert (done.state, done.seconds_left) == ("done", 0.0)
    assert done.finished is not None


def test_a_key_gives_the_job_of_its_upload_and_none_of_another(store: JobStore) -> None:
    first = store.add(new("a", key="k"))
    assert store.add(new("b", key="k")) == first
    store.finish("a", "cancelled", "why")
    assert store.add(new("c", key="k")).reason == "why"
    for other in (new("d", key="k", sha256="cd"), new("d", key="k", asked="others")):
        with pytest.raises(ConflictError, match="another upload"):
            store.add(other)
    store.add(new("e", key="l"))
    store.add(new("f"))
    store.add(new("g"))
    assert [job.id for job in store.newest(10)] == ["g", "f", "e", "a"]


def test_a_job_that_failed_lets_its_key_go(store: JobStore) -> None:
    store.add(new("a", key="k"))
    store.finish("a", "failed", "why")
    assert store.add(new("b", key="k", sha256="cd")).id == "b"
    assert store.get("a").reason == "why"


def test_jobs_are_in_the_order_of_arrival_whatever_the_clock_says(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, now in enumerate(["2026-03-03", "2026-03-01", "2026-03-02"]):
        monkeypatch.setattr(job_store, "_now", lambda now=now: now)
        store.add(new(f"j{i}"))
    assert [job.id for job in store.newest(2)] == ["j2", "j1"]
    assert [job.id for job in store.unfinished()] == ["j0", "j1", "j2"]


def test_a_cancelled_job_stays_so_and_its_last_batch_counts(store: JobStore) -> None:
    store.add(new("a"))
    store.begin("a")
    store.finish("a", "cancelled")
    job = store.checkpoint("a", JobStep(40, 4, done=4, seconds=1.0, refused=[]))
    assert (job.state, job.done) == ("cancelled", 4)
    assert store.begin("a").state == "cancelled"
    assert store.finish("a", "done").state == "cancelled"
    assert store.unfinished() == []


def test_the_first_hundred_refusals_are_kept(store: JobStore) -> None:
    store.add(new("a"))
    for first in (1, 65, 129):
        refused = [refusal(line) for line in range(first, first + 64)]
        store.checkpoint("a", JobStep(first, first, 0, 1.0, refused))
    assert [refusal.line for refusal in store.refusals("a")] == list(range(1, 101))
    assert store.get("a").refused == 192


def test_old_finished_jobs_are_forgotten_and_none_that_waits(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "KEPT_JOBS", 3)
    store.add(new("waits"))
    for i in range(5):
        store.add(new(f"j{i}", key=f"k{i}"))
        store.checkpoint(f"j{i}", JobStep(1, 1, 0, 1.0, [refusal(1)]))
        store.finish(f"j{i}", "done")
    assert [job.id for job in store.newest(10)] == ["j4", "j3", "j2", "waits"]
    # Though it is the oldest now, it has only just ended.
    assert store.finish("waits", "done").state == "done"
    assert [job.id for job in store.newest(10)] == ["j4", "j3", "waits"]
    assert store.refusals("j0") == []
    store.add(replace(new("again", key="k0"), sha256="cd"))


def test_a_long_queue_is_told(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_store, "MOST_WAITING", 1)
    store.add(new("a", key="k"))
    with pytest.raises(OverloadedError, match="1 jobs wait"):
        store.add(new("b"))
    assert store.add(new("c", key="k")).id == "a"
    store.finish("a", "done")
    store.add(new("d"))


@pytest.mark.parametrize("call", ["get", "begin"])
def test_an_unknown_job_is_told(store: JobStore, call: str) -> None:
    with pytest.raises(NotFoundError, match="no job 'x'"):
        getattr(store, call)("x")


def test_a_job_that_has_nothing_to_do_has_no_time_left(store: JobStore) -> None:
    assert store.add(replace(new("a"), total=0)).seconds_left == 0.0


def test_the_file_is_told_from_a_store_of_documents_and_from_a_newer_one(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    DocumentStore(path).close()
    with pytest.raises(StoreError, match="another program"):
        JobStore(path)
    path.unlink()
    JobStore(path).close()
    with pytest.raises(StoreError, match="another program"):
        DocumentStore(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="schema version 99"):
        JobStore(path)
