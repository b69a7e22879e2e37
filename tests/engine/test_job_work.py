"""Jobs without an upload: progress, restarts, cancels and failures."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.engine.bulk_jobs import Jobs
from service.engine.job_work import OnProgress, Work
from service.errors import ConflictError, InvalidInputError, NotAvailableError
from service.store.data_folder import DataFolder
from service.types import DocumentLimits
from tests.fixtures.bulk import Finder, lines, receive, wait_for

Open = Callable[[Work], Jobs]


@pytest.fixture
def open_jobs(tmp_path: Path) -> Iterator[Open]:
    """Opens the jobs of a folder, with one kind of work, and starts them."""
    opened: list[Jobs] = []
    with DataFolder.open(tmp_path) as folder:
        find = Finder(folder)

        def open_them(work: Work) -> Jobs:
            limits = DocumentLimits(1000)
            jobs = Jobs(tmp_path, find, limits, works={"evaluation": work})
            opened.append(jobs)
            jobs.start()
            return jobs

        yield open_them
        for jobs in opened[-1:]:
            jobs.close()


def begin(jobs: Jobs) -> str:
    return jobs.start_work("evaluation", "main", "default", {"labels": "labels"}).id


def quick(name: str, options: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    on_progress(1, 7)
    return {"name": name, **options}


def endless(_name: str, _options: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    for done in range(100_000):
        on_progress(done, 100_000)
        time.sleep(0.002)
    raise AssertionError("it was not stopped")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_its_result_is_kept_with_the_job(open_jobs: Open) -> None:
    jobs = open_jobs(quick)
    job = wait_for(jobs, begin(jobs))
    assert (job.state, job.kind, job.done, job.total) == ("done", "evaluation", 7, 7)
    assert jobs.result(job.id) == {"name": "main", "labels": "labels"}
    upload = wait_for(jobs, receive(jobs, lines(2)).id)
    assert (upload.kind, upload.done, jobs.result(upload.id)) == ("upload", 2, None)


def test_it_begins_again_after_a_restart(open_jobs: Open) -> None:
    jobs = open_jobs(endless)
    id_ = begin(jobs)
    until(lambda: jobs.get(id_).done > 0)
    jobs.close()
    again = open_jobs(quick)
    job = wait_for(again, id_)
    assert (job.state, job.done, job.total) == ("done", 7, 7)


def test_a_cancelled_one_stops_and_has_no_result(open_jobs: Open) -> None:
    stopped = threading.Event()

    def work(name: str, options: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
        try:
            return endless(name, options, on_progress)
        finally:
            stopped.set()

    jobs = open_jobs(work)
    id_ = begin(jobs)
    until(lambda: jobs.get(id_).done > 0)
    with pytest.raises(ConflictError, match=id_):
        begin(jobs)
    assert jobs.cancel(id_).state == "cancelled"
    assert stopped.wait(30)
    until(lambda: not jobs.notes)
    assert (jobs.get(id_).state, jobs.result(id_)) == ("cancelled", None)


def test_labels_that_are_too_few_are_its_reason(open_jobs: Open) -> None:
    def work(_name: str, _options: Any, _on_progress: OnProgress) -> dict[str, Any]:
        raise InvalidInputError("9 judged hits are too few", "labels")

    jobs = open_jobs(work)
    job = wait_for(jobs, begin(jobs))
    assert (job.state, job.reason) == ("failed", "9 judged hits are too few")


def test_what_nothing_was_foreseen_for_fails_without_its_text(open_jobs: Open) -> None:
    def work(_name: str, _options: Any, _on_progress: OnProgress) -> dict[str, Any]:
        raise RuntimeError("s3cret")

    jobs = open_jobs(work)
    job = wait_for(jobs, begin(jobs))
    assert (job.state, "s3cret" in (job.reason or "")) == ("failed", False)
    assert wait_for(jobs, receive(jobs, lines(2)).id).state == "done"  # the thread goes on


def test_a_server_without_the_work_says_so(open_jobs: Open) -> None:
    jobs = open_jobs(quick)
    with pytest.raises(NotAvailableError, match="no calibration jobs"):
        jobs.start_work("calibration", "main", "default", {})


def test_two_requests_at_once_begin_one_job(
    open_jobs: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(endless)
    both, unfinished = threading.Barrier(2), jobs._store.unfinished

    def together() -> Any:
        found = unfinished()
        if threading.current_thread().name.startswith("asked"):
            with suppress(threading.BrokenBarrierError):
                both.wait(0.3)
        return found

    monkeypatch.setattr(jobs._store, "unfinished", together)
    with ThreadPoolExecutor(2, "asked") as threads:
        asked = [threads.submit(begin, jobs) for _ in range(2)]
    assert sorted(type(one.exception()) for one in asked if one.exception()) == [ConflictError]
