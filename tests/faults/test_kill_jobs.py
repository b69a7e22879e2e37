"""SIGKILL at random moments while an upload comes in and while its job runs.

Each child sends the same upload with the same key, as a client does that had no answer. The encoder
is a stand-in that needs no second to load; store, jobs and files are the real ones.
"""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from service.store.data_folder import DataFolder
from service.store.job_store import JobStore
from tests.fixtures.bulk import line
from tests.fixtures.stores import now

KILLS = 10
ROWS = 3000
BAD = range(0, ROWS, 100)


def ids_in(folder: DataFolder) -> list[str]:
    with folder.store.view() as view:
        return view.ids({}, "", ROWS)


def counted(folder: Path) -> int:
    """Lines that `jobs.db` has as dealt with."""
    with closing(sqlite3.connect(f"file:{folder / 'jobs.db'}?mode=ro", uri=True)) as jobs:
        (lines,) = jobs.execute("SELECT coalesce(sum(done + refused), 0) FROM jobs").fetchone()
        return int(lines)


def work_and_kill(
    folder: Path, upload: Path, seconds: float | None, *, amid: bool = False
) -> tuple[list[str], bool]:
    """The job ids that the child said were accepted, and whether it was killed at its work.

    `amid`: the seconds count from the first step that the child adds to what is counted.
    """
    arguments = [sys.executable, "-m", "tests.faults.work_on_jobs", str(folder), str(upload), "key"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        if seconds is not None:
            before = counted(folder) if amid else 0
            while amid and child.poll() is None and counted(folder) <= before:
                time.sleep(0.002)
            time.sleep(seconds)
            child.kill()  # nothing where it has ended
        said = child.stdout.read().split()
    assert child.returncode in {0, -signal.SIGKILL}
    return said, child.returncode != 0


def test_killed_ten_times_a_job_loses_nothing_and_undoes_nothing(tmp_path: Path) -> None:
    folder, upload = tmp_path / "data", tmp_path / "rows.ndjson"
    upload.write_bytes(b"".join(b"{\n" if i in BAD else line(i) for i in range(ROWS)))
    draw = random.Random(20)
    accepted: set[str] = set()
    deleted: set[str] = set()
    killed_at_work, partly = 0, 0
    for kill in range(KILLS):
        # By turns at any moment, and at one at which there is certainly work under way.
        amid = bool(accepted) and kill % 2 == 1
        seconds = draw.uniform(0.0, 0.05 if amid else 0.6)
        said, killed = work_and_kill(folder, upload, seconds, amid=amid)
        killed_at_work += killed
        accepted |= set(said)
        if accepted:
            store = JobStore(folder / "jobs.db")
            (job,) = store.newest(10)
            store.close()
            partly += 0 < job.done + job.refused < ROWS
            with DataFolder.open(folder) as opened:
                # What is counted is stored; of what is not, one batch may be.
                stored = ids_in(opened)
                assert job.done <= len(stored) + len(deleted) <= job.done + 64
                if stored:  # of the last batch, which perhaps is not counted: it must not come back
                    deleted.add(max(stored, key=lambda id_: int(id_[1:])))
                    opened.store.delete(deleted)
    assert killed_at_work >= 1, "the children were too quick to be killed"
    assert partly >= 1, "no child was killed at its work"
    assert deleted
    said, killed = work_and_kill(folder, upload, seconds=None)
    assert not killed
    assert accepted | set(said) == set(said), "one key made several jobs"
    store = JobStore(folder / "jobs.db")
    (job,) = store.newest(10)
    assert (job.state, job.done, job.refused, job.total) == (
        "done",
        ROWS - len(BAD),
        len(BAD),
        ROWS,
    )
    assert [refusal.line for refusal in store.refusals(job.id)] == [i + 1 for i in BAD]
    store.close()
    wanted = {f"r{i}" for i in range(ROWS)} - {f"r{i}" for i in BAD} - deleted
    with DataFolder.open(folder) as opened:
        assert set(now(opened.store).content_hashes([f"r{i}" for i in range(ROWS)])) == wanted
        assert now(opened.store).counts.documents == len(wanted)
    assert list((folder / "jobs").iterdir()) == []
