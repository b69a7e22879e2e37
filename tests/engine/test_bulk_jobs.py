"""Bulk jobs: from an upload to documents, through restarts, full disks and dropped collections."""

import asyncio
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from service.documents.lines import Place
from service.engine import bulk_jobs as jobs_module
from service.engine.bulk_jobs import Jobs, Target
from service.engine.job_files import PartialUpload, Spool
from service.errors import (
    ConflictError,
    InferenceError,
    InvalidInputError,
    NotReadyError,
    OverloadedError,
    StoreError,
    StoreFullError,
)
from service.scheduling import gate
from service.scheduling.shares import on_behalf_of
from service.store.data_folder import DataFolder
from service.store.job_store import Refusal
from service.types import Document, DocumentLimits, Vectors
from service.write.bulk_lines import BATCH_LINES, read_batches
from service.write.staged import LONG_CHARS
from tests.fixtures.bulk import Finder, line, lines, open_jobs, receive, wait_for
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.stores import now


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path) as folder:
        yield folder


@pytest.fixture
def find(folder: DataFolder) -> Finder:
    return Finder(folder)


@pytest.fixture
def jobs(tmp_path: Path, find: Finder) -> Iterator[Jobs]:
    """Not started."""
    jobs = open_jobs(tmp_path, find)
    yield jobs
    jobs.close()


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_PAUSE_S", 0.01)


def ids_in(folder: DataFolder) -> list[str]:
    with folder.store.view() as view:
        return [stored.document.id for stored in view.documents({}, "", 10_000)]


def spooled(path: Path) -> list[str]:
    return [file.name for file in (path / "jobs").iterdir()]


# Uploads


def test_an_upload_is_durable_before_it_is_worked_on(jobs: Jobs, tmp_path: Path) -> None:
    data = lines(5)
    job = receive(jobs, [data[:10], data[10:11], b"", data[11:]])
    assert (job.state, job.collection, job.total, job.bytes) == ("queued", "main", 5, len(data))
    assert spooled(tmp_path) == [f"{job.id}.ndjson"]
    assert (tmp_path / "jobs" / f"{job.id}.ndjson").read_bytes() == data


def test_a_job_stores_its_documents_and_lets_its_upload_go(
    jobs: Jobs, folder: DataFolder, tmp_path: Path
) -> None:
    jobs.start()
    job = wait_for(jobs, receive(jobs, lines(150)).id)
    assert (job.state, job.done, job.refused, job.total) == ("done", 150, 0, 150)
    assert job.rate is not None
    assert ids_in(folder) == sorted(f"r{i}" for i in range(150))
    assert now(folder.store).counts.documents == 150
    assert spooled(tmp_path) == []
    assert jobs.waiting == 0


@pytest.mark.parametrize(
    ("data", "total"),
    [
        (b"", 0),
        (b"\n \r\n\t\n", 0),
        (b"\xef\xbb\xbf", 0),
        (b"\xef\xbb\xbf" + line(0), 1),
        (b"\n\n" + line(0) + b"\r\n" + line(1).rstrip(), 2),
    ],
)
def test_total_is_what_the_job_deals_with(jobs: Jobs, data: bytes, total: int) -> None:
    jobs.start()
    job = wait_for(jobs, receive(jobs, data).id)
    assert (job.state, job.total, job.done) == ("done", total, total)


def test_lines_are_counted_however_the_upload_is_cut(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf\n" + line(0) + b" \n\n" + line(1) + b"\t"
    for size in range(3, 40):
        with Spool(tmp_path / "jobs").new() as partial:
            for start in range(0, len(data), size):
                partial.write(data[start : start + size])
            assert partial.complete().lines == 2


def test_of_an_upload_that_breaks_off_nothing_stays(jobs: Jobs, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield lines(3)
        raise InvalidInputError("the upload ended before it was whole", "body")

    with pytest.raises(InvalidInputError):
        receive(jobs, broken())
    assert spooled(tmp_path) == []
    assert jobs.newest(10) == []


def test_a_cancelled_upload_waits_for_its_write_and_leaves_nothing(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_write, go_on = threading.Event(), threading.Event()
    complete = PartialUpload.complete

    def slow(partial: PartialUpload) -> object:
        in_write.set()
        go_on.wait()
        return complete(partial)

    monkeypatch.setattr(PartialUpload, "complete", slow)

    async def cancelled() -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield lines(3)

        upload = asyncio.create_task(jobs.receive(chunks(), "main", "default", None))
        await asyncio.to_thread(in_write.wait)
        upload.cancel()
        await asyncio.sleep(0.05)
        assert not upload.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await upload

    asyncio.run(cancelled())
    assert spooled(tmp_path) == []
    assert jobs.newest(10) == []


def test_an_upload_that_stops_coming_is_given_up(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "WINDOW_S", 0.05)

    async def stalled() -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield lines(3)
            await asyncio.sleep(30)

        await jobs.receive(chunks(), "main", "default", None)

    with pytest.raises(InvalidInputError, match="fewer than 60,000 bytes came"):
        asyncio.run(stalled())
    assert spooled(tmp_path) == []


def test_a_full_disk_refuses_an_upload_and_keeps_nothing_of_it(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A device that is always full stands in for the disk.
    monkeypatch.setattr(Path, "open", lambda _path, *_mode, **_more: open("/dev/full", "wb", 0))  # noqa: PTH123, SIM115
    with pytest.raises(StoreFullError):
        receive(jobs, lines(3))
    monkeypatch.undo()
    assert spooled(tmp_path) == []
    assert receive(jobs, lines(3)).total == 3


def test_too_many_uploads_at_a_time_are_turned_away(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_uploads", jobs_module.Gate(0, "uploads"))
    with pytest.raises(OverloadedError, match="uploads"):
        receive(jobs, lines(3))


def test_an_upload_takes_no_memory_to_speak_of(jobs: Jobs) -> None:
    size, chunk = 24_000_000, b"".join(map(line, range(900)))[:65_536]

    def stream() -> Iterator[bytes]:
        for _ in range(size // len(chunk)):
            yield bytes(chunk)

    tracemalloc.start()
    try:
        assert receive(jobs, stream()).bytes > 0.99 * size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000


# Keys


def test_an_upload_that_is_repeated_with_its_key_is_the_same_job(
    jobs: Jobs, tmp_path: Path
) -> None:
    first = receive(jobs, lines(3), key="k")
    assert receive(jobs, [lines(2), line(2)], key="k") == first
    assert len(spooled(tmp_path)) == 1
    jobs.start()
    done = wait_for(jobs, first.id)
    assert receive(jobs, lines(3), key="k") == done
    with pytest.raises(ConflictError, match="another upload"):
        receive(jobs, lines(4), key="k")
    with pytest.raises(ConflictError, match="another upload"):
        receive(jobs, lines(3), key="k", asked="main")
    assert spooled(tmp_path) == []
    assert receive(jobs, lines(3)).id != first.id


def test_a_job_that_failed_lets_its_key_go(jobs: Jobs, find: Finder) -> None:
    first = receive(jobs, lines(3), key="k")
    find.there = False
    jobs.start()
    assert wait_for(jobs, first.id).state == "failed"
    find.there = True
    again = receive(jobs, lines(3), key="k")
    assert again.id != first.id
    assert wait_for(jobs, again.id).done == 3
    assert receive(jobs, lines(3), key="k").id == again.id


# Lines


def test_lines_that_are_wrong_are_refused_and_the_others_stored(
    jobs: Jobs, folder: DataFolder
) -> None:
    rows: list[tuple[bytes, str | None, str | None, str]] = [
        (b'{"id": "a"', None, None, "not valid JSON"),
        (b"[1]", None, None, "not a JSON object"),
        (b'{"id": "\xff"}', None, None, "not valid UTF-8 at byte 9"),
        (b'{"text": "one"}', None, "id", "is missing"),
        (b'{"id": "b"}', "b", "text", "is missing"),
        (b'{"id": "c", "text": 3}', "c", "text", "must be a string"),
        (b'{"id": "d", "text": "one", "author": "x"}', "d", "author", "not a field of a document"),
        (b'{"id": "e", "text": "one", "metadata": {"a": {}}}', "e", "metadata.a", "must be a"),
        (b'{"id": "f", "text": "%s"}' % (b"x" * 1001), "f", "text", "1000 are the most"),
        (b'{"id": "g", "text": "\\u200b\\u200b"}', "g", "text", "nothing is left"),
        (b'{"id": "\\ud800", "text": "one"}', "?", "id", "not valid Unicode"),
        (b'{"id": "%s"}' % (b"x" * 1_100_000), None, None, "longer than"),
    ]
    data = b"".join(line(i) + bad + b"\n\n" for i, (bad, *_) in enumerate(rows))
    jobs.start()
    job = wait_for(jobs, receive(jobs, data).id)
    assert (job.state, job.done, job.refused, job.total) == ("done", 12, 12, 24)
    refusals = jobs.refusals(job.id)
    assert [refusal.line for refusal in refusals] == [3 * i + 2 for i in range(len(rows))]
    for refusal, (_, id_, field, reason) in zip(refusals, rows, strict=True):
        assert (refusal.id, refusal.field) == (id_, field)
        assert reason in refusal.reason
        assert len(refusal.reason) <= 500
    assert now(folder.store).counts.documents == 12


def test_of_lines_with_one_id_the_last_is_stored_and_all_are_counted(
    jobs: Jobs, folder: DataFolder
) -> None:
    data = line(0, "first") + line(1) + line(0, "\u200b") + line(0, "last") + line(1)
    jobs.start()
    job = wait_for(jobs, receive(jobs, data).id)
    assert (job.done, job.refused) == (4, 1)
    assert jobs.refusals(job.id)[0].line == 3
    with folder.store.view() as view:
        stored = view.document("r0")
    assert stored is not None
    assert stored.document.text == "last"


def test_batches_are_small_and_each_ends_where_its_last_line_does(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(lines(100) + line(99) + b"".join(line(i, "x" * 20_000) for i in range(7)))
    batches = list(read_batches(path, Place(0, 0), DocumentLimits()))
    assert [len(batch) for batch in batches] == [BATCH_LINES, 36, 4, 3, 1]
    assert batches[-1][-1].place == Place(path.stat().st_size, 108)
    for batch, following in pairwise(batches):
        assert next(read_batches(path, batch[-1].place, DocumentLimits())) == following


def test_a_document_that_the_model_fails_on_spoils_no_other(
    jobs: Jobs, folder: DataFolder, find: Finder
) -> None:
    class Fails(HashEncoder):
        def encode_passages(self, texts: object, /) -> Vectors:
            if any("cursed" in text for text in texts):  # type: ignore[attr-defined]
                raise InferenceError("the vectors are not finite")
            return super().encode_passages(texts)  # type: ignore[arg-type]

    find.encoder = Fails()
    jobs.start()
    job = wait_for(jobs, receive(jobs, lines(3) + line(3, "cursed") + line(4)).id)
    assert (job.state, job.done, job.refused) == ("done", 4, 1)
    assert jobs.refusals(job.id) == [Refusal(4, "r3", "text", "the vectors are not finite")]
    assert ids_in(folder) == ["r0", "r1", "r2", "r4"]


def test_a_long_line_is_left_to_the_indexer_and_holds_up_no_other_job(
    tmp_path: Path, find: Finder, folder: DataFolder
) -> None:
    encoded: list[int] = []

    class Measures(HashEncoder):
        def encode_passages(self, texts: Sequence[str], /) -> Vectors:
            encoded.append(sum(map(len, texts)))
            return super().encode_passages(texts)

    find.encoder = Measures()
    jobs = open_jobs(tmp_path, find, max_chars=1_000_000)
    text = "Of tides and moons. " * 5000
    first = receive(jobs, line(0) + line(1, text) + line(2))
    second = receive(jobs, line(3))
    jobs.start()
    assert wait_for(jobs, first.id).done == 3
    assert wait_for(jobs, second.id).done == 1
    jobs.close()
    assert sum(encoded) < 1000, "the job encodes the short ones alone"
    assert ids_in(folder) == ["r0", "r1", "r2", "r3"]
    assert now(folder.store).counts.documents == 3
    find("main").ingestor.index_staged()
    assert now(folder.store).counts.documents == 4


def test_a_long_line_without_readable_text_is_refused_as_a_short_one_is(
    tmp_path: Path, find: Finder, folder: DataFolder
) -> None:
    jobs = open_jobs(tmp_path, find, max_chars=1_000_000)
    texts = ["query: " * (LONG_CHARS // 7 + 1), "\u200b" * (LONG_CHARS + 1), "\u200b"]
    data = b"".join(line(n, text) for n, text in enumerate(texts)) + line(3)
    jobs.start()
    job = wait_for(jobs, receive(jobs, data).id)
    refusals = jobs.refusals(job.id)
    jobs.close()
    assert (job.state, job.done, job.refused) == ("done", 1, 3)
    assert {(refusal.field, refusal.reason) for refusal in refusals} == {
        ("text", "nothing is left of the text once it is cleaned")
    }
    assert ids_in(folder) == ["r3"]


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_batch_that_is_stored_line_by_line_can_be_stopped(
    tmp_path: Path, find: Finder, folder: DataFolder, how: str
) -> None:
    alone, go_on = threading.Event(), threading.Event()

    class Fails(HashEncoder):
        def encode_passages(self, texts: Sequence[str], /) -> Vectors:
            if len(texts) > 1:
                raise InferenceError("too many")
            alone.set()
            go_on.wait(10)
            return super().encode_passages(texts)

    jobs = open_jobs(tmp_path, find)
    job = receive(jobs, lines(8))
    find.encoder = Fails()
    jobs.start()
    assert alone.wait(10)
    if how == "cancel":
        jobs.cancel(job.id)
        go_on.set()
    closing = threading.Thread(target=jobs.close)
    closing.start()
    while not jobs._closing.is_set():
        pass
    go_on.set()
    closing.join(10)
    jobs = open_jobs(tmp_path, find)
    after = jobs.get(job.id)
    jobs.close()
    assert (after.state, after.done) == ("cancelled" if how == "cancel" else "running", 1)
    assert ids_in(folder) == ["r0"]


# What comes between


class Killed(BaseException):
    """Stands in for a SIGKILL."""


class Steps:
    """Calls that change something; the process dies before or after one of them."""

    def __init__(self, moment: int, after: bool) -> None:
        self.left, self.after = moment, after

    def __call__(self, work: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            result = work(*given, **named)
            if self.left == 0:
                raise Killed
            return result

        return run


def work_until(
    steps: Steps, path: Path, find: Finder, patch: pytest.MonkeyPatch, max_chars: int = 1000
) -> bool:
    """Work on the jobs in this thread; False where the process 'died' at it."""
    jobs = open_jobs(path, find, max_chars)
    for owner, names in (
        (jobs._store, ("begin", "checkpoint", "finish")),
        (jobs._spool, ("remove",)),
        (find.folder.store, ("put",)),
    ):
        for name in names:
            patch.setattr(owner, name, steps(getattr(owner, name)))
    try:
        for job in jobs._store.unfinished():
            jobs._run(job)
    except Killed:
        return False
    finally:
        patch.undo()
        jobs._store.close()
    return True


@pytest.mark.parametrize("after", [False, True])
def test_after_a_restart_between_any_two_steps_each_line_counts_once(
    tmp_path: Path, find: Finder, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    good = BATCH_LINES * 2 + 1
    data = lines(good - 1) + b"{\n" + line(200)
    moment, ended = 1, False
    while not ended:
        jobs = open_jobs(tmp_path, find)
        id_ = receive(jobs, data).id
        jobs.close()
        ended = work_until(Steps(moment, after), tmp_path, find, monkeypatch)
        assert work_until(Steps(0, after), tmp_path, find, monkeypatch)
        jobs = open_jobs(tmp_path, find)
        job = jobs.get(id_)
        assert (job.state, job.done, job.refused) == ("done", good, 1)
        assert [refusal.line for refusal in jobs.refusals(id_)] == [good]
        assert now(find.folder.store).counts.documents == good
        assert spooled(tmp_path) == []
        jobs.close()
        find.folder.store.delete(ids_in(find.folder))
        moment += 1
    assert moment > 8


def test_what_came_after_a_batch_is_not_undone_by_a_restart(
    tmp_path: Path, find: Finder, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(tmp_path, find)
    id_ = receive(jobs, lines(3) + b"{\n" + lines(BATCH_LINES * 2)).id
    jobs.close()
    # The first three lines come twice, so they are a batch. It dies once that is stored.
    assert not work_until(Steps(2, after=True), tmp_path, find, monkeypatch)
    assert ids_in(folder) == ["r0", "r1", "r2"]
    folder.store.delete(["r2"])
    jobs = open_jobs(tmp_path, find)
    assert jobs.get(id_).offset == 0
    jobs._with_last_step(jobs.get(id_))
    caught_up = jobs.get(id_)
    assert (caught_up.done, caught_up.refused, caught_up.line) == (3, 1, 4)
    assert [refusal.line for refusal in jobs.refusals(id_)] == [4]
    assert ids_in(folder) == ["r0", "r1"]
    jobs.close()


@pytest.mark.parametrize("after", [False, True])
def test_a_long_line_is_stored_once_whenever_the_process_dies(
    tmp_path: Path, find: Finder, folder: DataFolder, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    jobs = open_jobs(tmp_path, find, max_chars=100_000)
    id_ = receive(jobs, line(0, "Of tides and moons. " * 500)).id
    jobs.close()
    assert not work_until(Steps(2, after), tmp_path, find, monkeypatch, max_chars=100_000)
    revision = now(folder.store).revision
    assert len(ids_in(folder)) == after
    assert work_until(Steps(0, after), tmp_path, find, monkeypatch, max_chars=100_000)
    assert now(folder.store).revision == (revision if after else revision + 1)
    jobs = open_jobs(tmp_path, find)
    assert (jobs.get(id_).state, jobs.get(id_).done) == ("done", 1)
    jobs.close()


def test_a_killed_job_undoes_no_write_that_came_after_its_last_batch(
    tmp_path: Path, find: Finder, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(tmp_path, find)
    id_ = receive(jobs, lines(3)).id
    jobs.close()
    assert not work_until(Steps(2, after=True), tmp_path, find, monkeypatch)
    folder.store.delete(["r0"])
    folder.store.stage([Document("r1", "The ferry is cancelled.")])
    assert work_until(Steps(0, after=True), tmp_path, find, monkeypatch)
    with folder.store.view() as view:
        assert view.document("r0") is None
        assert view.document("r1").document.text == "The ferry is cancelled."  # type: ignore[union-attr]
    jobs = open_jobs(tmp_path, find)
    assert (jobs.get(id_).state, jobs.get(id_).done) == ("done", 3)
    jobs.close()


def test_the_step_of_one_job_is_none_of_the_next(
    tmp_path: Path, find: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(tmp_path, find)
    first = receive(jobs, lines(3)).id
    second = receive(jobs, lines(BATCH_LINES + 3)).id
    jobs.close()
    assert work_until(Steps(0, after=True), tmp_path, find, monkeypatch)
    jobs = open_jobs(tmp_path, find)
    assert (jobs.get(first).done, jobs.get(second).done) == (3, BATCH_LINES + 3)
    jobs.close()


def test_what_a_process_left_that_died_while_it_received_is_removed(
    tmp_path: Path, find: Finder
) -> None:
    jobs = open_jobs(tmp_path, find)
    job = receive(jobs, lines(3))
    jobs.close()
    for name in ("half.partial", "unknown.ndjson", "other.txt"):
        (tmp_path / "jobs" / name).write_bytes(line(0))
    jobs = open_jobs(tmp_path, find)
    assert sorted(spooled(tmp_path)) == sorted([f"{job.id}.ndjson", "other.txt"])
    jobs.close()


def test_a_queued_job_is_cancelled_and_never_begins(jobs: Jobs, tmp_path: Path) -> None:
    job = receive(jobs, lines(3))
    other = receive(jobs, lines(3))
    assert jobs.cancel(job.id).state == "cancelled"
    jobs.start()
    assert wait_for(jobs, other.id).done == 3
    assert jobs.get(job.id).done == 0
    assert jobs.cancel(other.id).state == "done"
    assert spooled(tmp_path) == []


def test_a_running_job_stops_after_the_batch_under_way(
    jobs: Jobs, folder: DataFolder, find: Finder
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Holds(HashEncoder):
        def encode_passages(self, texts: object, /) -> Vectors:
            begun.set()
            go_on.wait(10)
            return super().encode_passages(texts)  # type: ignore[arg-type]

    job = receive(jobs, lines(BATCH_LINES * 3))
    find.encoder = Holds()
    jobs.start()
    assert begun.wait(10)
    assert jobs.get(job.id).state == "running"
    assert jobs.cancel(job.id).state == "cancelled"
    go_on.set()
    deadline = time.monotonic() + 10
    while jobs.get(job.id).done < BATCH_LINES or jobs.notes:
        assert time.monotonic() < deadline, jobs.notes
        time.sleep(0.01)
    after = receive(jobs, line(999))
    assert wait_for(jobs, after.id).done == 1
    assert jobs.get(job.id).done == BATCH_LINES
    assert now(folder.store).counts.documents == BATCH_LINES + 1


def test_closing_stops_after_a_batch_and_the_next_process_goes_on(
    tmp_path: Path, folder: DataFolder, find: Finder
) -> None:
    jobs = open_jobs(tmp_path, find)
    begun = threading.Event()
    job = receive(jobs, lines(BATCH_LINES * 5))
    find.before = begun.set
    jobs.start()
    begun.wait(10)
    jobs.close()
    before = now(folder.store).counts.documents
    assert before < BATCH_LINES * 5
    jobs = open_jobs(tmp_path, find)
    assert jobs.get(job.id).done == before
    jobs.start()
    assert wait_for(jobs, job.id).done == BATCH_LINES * 5
    jobs.close()


def test_a_full_disk_pauses_a_job_which_says_so(
    jobs: Jobs, find: Finder, folder: DataFolder, no_pause: None
) -> None:
    errors: list[StoreError] = [StoreFullError("cannot use /x: full"), StoreError("damaged")]

    def fails() -> None:
        if errors:
            raise errors[0]

    job = receive(jobs, lines(3))
    find.before = fails
    jobs.start()
    for words in ("the server's disk is full", "the server's store"):
        while words not in (jobs.note(job.id) or ""):
            pass
        assert jobs.get(job.id).state == "running"
        errors.pop(0)
    done = wait_for(jobs, job.id)
    assert (done.state, done.done, done.refused) == ("done", 3, 0)
    assert jobs.note(job.id) is None


def test_a_collection_that_is_not_open_holds_up_its_own_jobs_alone(
    tmp_path: Path, find: Finder, no_pause: None, folder: DataFolder
) -> None:
    open_ = {"main": True, "closed": False}

    def find_open(name: str) -> Target:
        if not open_[name]:
            raise NotReadyError("not open")
        return find("main")

    jobs = Jobs(tmp_path, find_open, DocumentLimits(1000))
    for name, text in (("closed", "first"), ("closed", "second"), ("main", "other")):
        open_["closed"] = True
        receive(jobs, line(0, text), name=name)
    third, second, first = jobs.newest(3)
    open_["closed"] = False
    jobs.start()
    wait_for(jobs, third.id)
    while "could not be opened" not in (jobs.note(first.id) or ""):
        pass
    assert jobs.get(second.id).state == "queued"
    open_["closed"] = True
    assert wait_for(jobs, second.id).done == 1
    assert jobs.get(first.id).done == 1
    jobs.close()
    with folder.store.view() as view:
        assert view.document("r0").document.text == "second"  # type: ignore[union-attr]


def test_jobs_of_several_collections_take_turns_and_those_of_one_keep_their_order(
    tmp_path: Path, find: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "TURN_S", 0.0)
    ended: list[str] = []
    jobs = Jobs(tmp_path, lambda _name: find("main"), DocumentLimits(1000))
    names = {}
    for name, count in (("large", 10), ("large", 1), ("small", 2)):
        data = b"".join(line(n, f"{name} {n}") for n in range(count * BATCH_LINES))
        names[receive(jobs, data, name=name).id] = f"{name} {count}"
    finish = jobs._store.finish
    monkeypatch.setattr(
        jobs._store, "finish", lambda id_, *how: (ended.append(names[id_]), finish(id_, *how))[1]
    )
    jobs.start()
    for id_ in names:
        wait_for(jobs, id_)
    jobs.close()
    assert ended == ["small 2", "large 10", "large 1"]


def test_a_client_has_a_quarter_of_the_jobs_that_wait(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "MOST_WAITING", 8)
    with on_behalf_of("greedy"):
        first, _second = (receive(jobs, lines(1)) for _ in range(2))
        with pytest.raises(OverloadedError, match="2 jobs of this client"):
            receive(jobs, lines(1))
    with on_behalf_of("modest"):
        receive(jobs, lines(1))
    jobs.cancel(first.id)
    with on_behalf_of("greedy"):
        receive(jobs, lines(1))


def test_a_checkpoint_that_cannot_be_written_counts_nothing_twice(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, no_pause: None
) -> None:
    checkpoint, failures = jobs._store.checkpoint, iter(range(3))

    def fails(*given: object) -> object:
        if next(failures, None) is not None:
            raise StoreFullError("full")
        return checkpoint(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs._store, "checkpoint", fails)
    job = receive(jobs, lines(BATCH_LINES * 2))
    jobs.start()
    assert wait_for(jobs, job.id).done == BATCH_LINES * 2
    assert next(failures, None) is None


def test_the_job_of_a_dropped_collection_fails_and_the_next_one_runs(
    jobs: Jobs, find: Finder, tmp_path: Path
) -> None:
    first, second = receive(jobs, lines(3)), receive(jobs, lines(3))
    find.there = False
    find.before = lambda: setattr(find, "there", jobs.get(first.id).is_finished)
    jobs.start()
    failed = wait_for(jobs, first.id)
    assert (failed.state, failed.reason) == ("failed", "the collection 'main' was dropped")
    assert wait_for(jobs, second.id).done == 3
    assert spooled(tmp_path) == []


def test_a_later_collection_of_the_same_name_gets_nothing(
    jobs: Jobs, find: Finder, folder: DataFolder
) -> None:
    job = receive(jobs, lines(3))
    find.made = "2026-03-01"
    jobs.start()
    assert wait_for(jobs, job.id).state == "failed"
    assert ids_in(folder) == []


def test_an_upload_that_has_gone_fails_its_job(
    jobs: Jobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = receive(jobs, lines(3))
    (tmp_path / "jobs" / f"{job.id}.ndjson").unlink()
    jobs.start()
    failed = wait_for(jobs, job.id)
    assert (failed.state, failed.reason) == (
        "failed",
        "the upload cannot be read; send it again",
    )


def test_what_nobody_foresaw_fails_the_job_and_not_the_thread(
    jobs: Jobs, find: Finder, caplog: pytest.LogCaptureFixture
) -> None:
    class Breaks(HashEncoder):
        def encode_passages(self, texts: object, /) -> Vectors:
            raise RuntimeError("secret")

    find.encoder = Breaks()
    jobs.start()
    failed = wait_for(jobs, receive(jobs, lines(3)).id)
    assert (failed.state, failed.reason) == (
        "failed",
        "an unforeseen error; the server's log has it",
    )
    assert "secret" in caplog.text
    find.encoder = HashEncoder()
    assert wait_for(jobs, receive(jobs, lines(3)).id).done == 3


def test_documents_that_are_there_cost_no_encoding(jobs: Jobs, find: Finder) -> None:
    calls: list[int] = []

    class Counts(HashEncoder):
        def encode_passages(self, texts: object, /) -> Vectors:
            calls.append(len(texts))  # type: ignore[arg-type]
            return super().encode_passages(texts)  # type: ignore[arg-type]

    find.encoder = Counts()
    jobs.start()
    wait_for(jobs, receive(jobs, lines(10)).id)
    assert wait_for(jobs, receive(jobs, lines(11)).id).done == 11
    assert calls == [10, 1]


def test_notes_and_log_say_how_far_a_running_job_is(
    jobs: Jobs, find: Finder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs_module, "_SAID_EVERY_S", 0.0)
    caplog.set_level("INFO")
    job = jobs.add(map(line, range(2 * BATCH_LINES)), "main")
    heard: list[str] = []
    find.before = lambda: heard.extend(jobs.notes)
    jobs.start()
    assert wait_for(jobs, job.id).done == 2 * BATCH_LINES
    assert f"job {job.id}: {BATCH_LINES} of {2 * BATCH_LINES} lines are stored" in heard
    assert heard[0] in caplog.text
    assert jobs.notes == []
