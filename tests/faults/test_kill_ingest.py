"""SIGKILL at random moments while `ingest` stores, and while it builds the index."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from service.index.data_folder import DataFolder
from service.pipeline.build import open_engine
from service.settings import Settings

KILLS = 10
ROWS = 400


def rows(path: Path) -> list[str]:
    lines = [
        json.dumps({"id": f"r{i}", "text": f"The {i}th ferry leaves pier {i % 7} at {i % 24}:00."})
        for i in range(ROWS)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [f"r{i}" for i in range(ROWS)]


def stored(folder: Path) -> int:
    with DataFolder.open(folder) as opened:
        return opened.store.counts().documents


def test_killed_ten_times_it_starts_again_and_has_all_it_acknowledged(tmp_path: Path) -> None:
    source, folder = tmp_path / "rows.jsonl", tmp_path / "data"
    ids = rows(source)
    draw = random.Random(20)
    acknowledged = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.ingest_slowly", str(source), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(draw.uniform(0.0, 1.0))
        os.kill(process.pid, signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().split()]
        process.wait()
        acknowledged = max([acknowledged, *said])
        assert stored(folder) >= acknowledged
    settings = Settings(data_dir=folder)
    with open_engine(settings) as engine:
        assert engine.documents == engine.passages >= acknowledged
        assert engine.checks() == {"models": "ok", "index": "ok"}
    subprocess.run(
        [sys.executable, "-m", "service", "ingest", str(source), "--data-dir", str(folder)],
        check=True,
        capture_output=True,
    )
    with open_engine(settings) as engine:
        assert engine.documents == ROWS
        kept = engine.folder.store.content_hashes(ids)
    assert set(kept) == set(ids)
