"""SIGKILL at a hundred random moments, with 100,000 passages in the folder.

A child writes, deletes, indexes, compacts, switches an alias and searches, all at once; it is
killed and what it acknowledged is looked for (`tests/faults/killing.py`). Its start is timed from
opening the folder to the first answer, without Python's imports and without models; at the end also
where the index is damaged and is built again first.

    python -m benchmarks.faults [--kills 100] [--passages 100000]
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from service.evaluation.provenance import provenance
from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.store.data_folder import DataFolder
from service.types import Document, EncodedDocument, Span
from tests.faults.killing import Victim
from tests.faults.writing_child import TextEncoder

SEED = 4
DIMENSION = 384
PASSAGES_PER_DOCUMENT = 10
HNSW_THRESHOLD = 1_000_000


def main() -> None:
    """Write the figures as JSON to standard output, each kill to standard error."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as parent:
        path = Path(parent) / "data"
        fill(path, arguments.passages)
        victim = Victim(path, DIMENSION, HNSW_THRESHOLD)
        moments = random.Random(SEED)  # noqa: S311
        kills = [_kill(victim, moments, number) for number in range(arguments.kills)]
        starts = [float(kill["start_s"]) for kill in kills]
        processor = [float(kill["start_cpu_s"]) for kill in kills]
        damaged_s, damaged_cpu_s = damaged_start(path)
        report = {
            **provenance(SEED),
            "command": " ".join(["python -m benchmarks.faults", *sys.argv[1:]]),
            "passages": arguments.passages,
            "dimension": DIMENSION,
            "kills": len(kills),
            "amid_a_write": sum(bool(kill["writes_under_way"]) for kill in kills),
            "acknowledged_writes": sum(int(kill["acknowledged"]) for kill in kills),
            "lost": 0,  # `Victim.check` raises for the first one
            "start_s": {
                "median": round(statistics.median(starts), 2),
                "worst": round(max(starts), 2),
                "median_processor_time": round(statistics.median(processor), 2),
                "worst_processor_time": round(max(processor), 2),
                "index_damaged": round(damaged_s, 2),
                "index_damaged_processor_time": round(damaged_cpu_s, 2),
            },
            "processors": os.cpu_count(),
            "load_average": [round(load, 1) for load in os.getloadavg()],
        }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _kill(victim: Victim, moments: random.Random, number: int) -> dict[str, Any]:
    killed = victim.run_and_kill(moments.uniform(0.0, 3.0))
    victim.check(killed)
    sys.stderr.write(
        f"{number}: start {killed.ready_s:.2f} s ({killed.ready_cpu_s:.2f} s of processor time), "
        f"{killed.acknowledged} writes acknowledged, "
        f"{len(killed.under_way)} under way\n"
    )
    return {
        "start_s": killed.ready_s,
        "start_cpu_s": killed.ready_cpu_s,
        "acknowledged": killed.acknowledged,
        "writes_under_way": len(killed.under_way),
    }


def fill(path: Path, passages: int) -> None:
    """Documents of ten passages with vectors around a thousand centres, and their index."""
    identity = TextEncoder(DIMENSION).identity
    with DataFolder.open(path) as data:
        data.store.set_identity(identity)
        for rows in _rows(passages):
            data.store.put(rows)
        open_or_build(
            data.store, data.generations, identity, hnsw_threshold=HNSW_THRESHOLD, complete=True
        )


def _rows(passages: int) -> Iterator[list[EncodedDocument]]:
    draw = np.random.default_rng(SEED)
    centres = draw.standard_normal((1000, DIMENSION), dtype=np.float32)
    spans = [Span(20 * i, 20 * i + 20) for i in range(PASSAGES_PER_DOCUMENT)]
    text = "".join(f"passage number {i:04} " for i in range(PASSAGES_PER_DOCUMENT))
    for start in range(0, passages // PASSAGES_PER_DOCUMENT, 100):
        noise = draw.standard_normal((100, PASSAGES_PER_DOCUMENT, DIMENSION), dtype=np.float32)
        vectors = centres[draw.integers(1000, size=100)][:, None] + 0.7 * noise
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        yield [
            EncodedDocument(Document(f"base-{start + i}", text), spans, vectors[i])
            for i in range(100)
        ]


def damaged_start(path: Path) -> tuple[float, float]:
    """From opening the folder to an answer, with one bit of the index flipped.

    Seconds, and seconds of processor time.
    """
    (folder,) = (path / "generations").iterdir()
    index = folder / "index.faiss"
    with index.open("r+b") as file:
        file.seek(index.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    encoder = TextEncoder(DIMENSION)
    began, cpu_began = time.perf_counter(), time.process_time()
    with DataFolder.open(path) as data:
        generation = open_or_build(
            data.store, data.generations, encoder.identity, hnsw_threshold=HNSW_THRESHOLD
        )
        assert generation.damaged  # noqa: S101
        with data.store.view() as view:
            live = LiveIndex(generation, view)
        with live.view(data.store) as (_, view):
            view.search(encoder.encode_queries(["anything"]), 20)
        return time.perf_counter() - began, time.process_time() - cpu_began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the data folder is made")
    return parser.parse_args()


if __name__ == "__main__":
    main()
