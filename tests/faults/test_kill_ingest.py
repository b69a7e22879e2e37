"""SIGKILL at random moments while `ingest` stores, and while it builds the index.

The encoder is a stand-in that needs no second to load, so that ten kills take seconds; store, index
and files are the real ones.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.store.data_folder import DataFolder
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.stores import now

KILLS = 10
ROWS = 3000


def write_rows(path: Path) -> set[str]:
    lines = [
        json.dumps({"id": f"r{i}", "text": f"The {i}th ferry leaves pier {i % 7} at {i % 24}:00."})
        for i in range(ROWS)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {f"r{i}" for i in range(ROWS)}


def ingest_and_kill(source: Path, folder: Path, seconds: float | None) -> tuple[int, bool]:
    """How many documents the child said were durable, and whether it was killed at its work."""
    arguments = [sys.executable, "-m", "tests.faults.ingest_slowly", str(source), str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child.pid, signal.SIGKILL)
        said = [int(line) for line in child.stdout.read().split()]
    assert child.returncode in {0, -signal.SIGKILL}
    return max(said, default=0), child.returncode != 0


def test_killed_ten_times_it_goes_on_and_has_all_it_acknowledged(tmp_path: Path) -> None:
    source, folder = tmp_path / "rows.jsonl", tmp_path / "data"
    ids = write_rows(source)
    draw = random.Random(20)
    identity = HashEncoder.identity
    acknowledged, killed_at_work = 0, 0
    for _ in range(KILLS):
        said, killed = ingest_and_kill(source, folder, seconds=draw.uniform(0.0, 0.5))
        acknowledged = max(acknowledged, said)
        killed_at_work += killed
        with DataFolder.open(folder) as opened:
            counts = now(opened.store).counts
            assert counts.documents >= acknowledged
            opened.store.set_identity(identity)
            generation = open_or_build(
                opened.store, opened.generations, identity, hnsw_threshold=500
            )
            with opened.store.view() as view:
                assert len(LiveIndex(generation, view).latest) == counts.passages
    assert killed_at_work >= 1, "the children were too quick to be killed"
    assert acknowledged > 0, "the children were killed before they stored anything"
    assert ingest_and_kill(source, folder, seconds=None) == (ROWS, False)
    with DataFolder.open(folder) as opened:
        assert set(now(opened.store).content_hashes(ids)) == ids
        generation = open_or_build(opened.store, opened.generations, identity, hnsw_threshold=500)
        assert generation.rebuilt_because is None
        assert len(generation.index) == ROWS
