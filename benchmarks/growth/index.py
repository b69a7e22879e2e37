"""Flat search and HNSW over growing numbers of vectors."""

import resource
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.growth.curves import Curve
from benchmarks.growth.texts import SEED, every_sentence, passages
from service.engine.build import build_encoder
from service.index.faiss_index import FaissIndex, Kind
from service.settings import Settings
from service.types import Vectors

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
DIMENSION, QUERIES, BEST = 384, 200, 100
TOPICS, SUBTOPICS = 300, 20
SPREADS = (0.7, 0.5)
"""Of a subtopic around its topic, and of a vector around its subtopic; a topic's own is 1."""

RECALL_BAR, P50_BAR_MS = 0.98, 5.0

_BLOCK = 10_000

Make = Callable[[int], Vectors]
"""So many unit vectors, float32 (n, DIMENSION); the first ones are the same for any n."""


def size(largest: int, kinds: Sequence[str]) -> dict[str, Any]:
    """Per kind of vectors: time of one search, flat and HNSW, and all there is of HNSW."""
    sizes = tuple(size for size in SIZES if size <= largest)
    makers: dict[str, Make] = {"clusters": clustered, "sse": of_texts}
    curves, graphs = [], {}
    for name in kinds:
        every = makers[name](sizes[-1] + QUERIES)
        queries, vectors = every[:QUERIES], every[QUERIES:]
        of_flat, of_graph = [], []
        for number in sizes:
            flat, graph = _compared(vectors[:number], queries)
            of_flat.append(flat["p50_ms"])
            of_graph.append(graph["p50_ms"])
            graphs[f"{name} {number}"] = graph
        curves += [
            Curve(f"flat, {name}", "vectors", sizes, tuple(of_flat), 1.0).figures(),
            Curve(f"HNSW, {name}", "vectors", sizes, tuple(of_graph), 0.0).figures(),
        ]
    return {
        "curves": curves,
        "hnsw": graphs,
        "dimension": DIMENSION,
        "queries": QUERIES,
        "bars": {"recall@100": RECALL_BAR, "p50_ms": P50_BAR_MS},
    }


def clustered(number: int) -> Vectors:
    """Around subtopics, and these around topics, as texts are; the same for the same seed."""
    draw = np.random.default_rng(SEED)
    topics = draw.standard_normal((TOPICS, 1, DIMENSION), dtype=np.float32)
    beside = draw.standard_normal((TOPICS, SUBTOPICS, DIMENSION), dtype=np.float32)
    centres = (topics + SPREADS[0] * beside).reshape(-1, DIMENSION)
    made = np.empty((number, DIMENSION), np.float32)
    for start in range(0, number, _BLOCK):
        # A whole block is drawn even where less is wanted: so the first ones never change.
        which = draw.integers(len(centres), size=_BLOCK)
        noise = draw.standard_normal((_BLOCK, DIMENSION), dtype=np.float32)
        rows = made[start : start + _BLOCK]
        rows[:] = (centres[which] + np.float32(SPREADS[1]) * noise)[: len(rows)]
    return _unit(made)


def of_texts(number: int) -> Vectors:
    """Made texts through sse-512, its vectors cut to the same dimensions."""
    encoder = build_encoder(Settings(encoder="sse-512", hub_offline=True, device="cpu"))
    made = np.empty((number, DIMENSION), np.float32)
    batch: list[str] = []
    filled = 0
    for text in passages(every_sentence(), number):
        batch.append(text)
        if len(batch) == 5_000 or filled + len(batch) == number:
            made[filled : filled + len(batch)] = encoder.encode_passages(batch)[:, :DIMENSION]
            filled += len(batch)
            batch.clear()
    return _unit(made)


def _unit(vectors: Vectors) -> Vectors:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _compared(vectors: Vectors, queries: Vectors) -> tuple[dict[str, float], dict[str, float]]:
    exact, flat = _measured(vectors, queries, "flat")
    nearly, graph = _measured(vectors, queries, "hnsw")
    k = min(BEST, len(vectors))
    shares = [len(a & b) / k for a, b in zip(exact, nearly, strict=True)]
    return flat, {**graph, "recall@100": round(float(np.mean(shares)), 4)}


def _measured(
    vectors: Vectors, queries: Vectors, kind: Kind
) -> tuple[list[set[int]], dict[str, float]]:
    before = _resident_mb()
    began = perf_counter()
    index = FaissIndex.build(_batches(vectors), dimension=DIMENSION, kind=kind)
    build_seconds = perf_counter() - began
    resident = _resident_mb() - before
    found, times = [], []
    for query in queries:
        began = perf_counter()
        (candidates,) = index.search(query[None], BEST)
        times.append(1000 * (perf_counter() - began))
        found.append({candidate.passage_id for candidate in candidates})
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        on_disk = sum(file.stat().st_size for file in Path(folder).iterdir())
    return found, {
        "build_seconds": round(build_seconds, 2),
        "p50_ms": round(float(np.median(times)), 3),
        "p99_ms": round(float(np.percentile(times, 99)), 3),
        "memory_mb": round(resident, 1),
        "on_disk_mb": round(on_disk / 2**20, 1),
    }


def _batches(vectors: Vectors) -> Any:
    for start in range(0, len(vectors), 8192):
        part = vectors[start : start + 8192]
        yield np.arange(start + 1, start + 1 + len(part), dtype=np.int64), part


def _resident_mb() -> float:
    """What the process holds now; where /proc is not, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20
