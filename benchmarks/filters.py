"""What filters cost, and the recall they leave: on a store and an index of made-up passages.

    python benchmarks/filters.py [--sizes 100000 1000000] [--graphs 100000] [--folder DIR]

For each size: the time to read what a filter keeps from the store (first and remembered), and time
and recall@100 of the index where it keeps 90 % to 0.01 %: at random, of the query's topic
(the nearest), and of all others (the farthest). Vectors are clustered. `--graphs` are the sizes
for which an HNSW index is built too. The stores stay in `--folder` and are used again. Times are of
the processor, so that other work on the machine counts less; run with OMP_NUM_THREADS=1.
"""

import argparse
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.evaluation.provenance import provenance
from service.index.faiss_index import FaissIndex, Kind
from service.store.allowed_passages import AllowedPassages
from service.store.document_store import DocumentStore
from service.types import Filters, Ids, IndexIdentity, Vectors

SEED = 0
K = 100
PER_DOCUMENT = 2
CLUSTERS = 1000
SHARES = {"50 %": 0.5, "1 %": 0.01, "0.01 %": 0.0001}
# Above a half, HNSW goes through its graph; below it scans what is kept.
INDEX_SHARES = {"90 %": 0.9, "60 %": 0.6, **SHARES}

_Row = tuple[str, str, str | int, int]


def main() -> None:
    """Write the figures as JSON to standard output."""
    arguments = _arguments()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        **provenance(SEED),
        "command": " ".join(["python", *sys.argv]),
        "machine": {"processor": platform.processor() or platform.machine()},
        "dimension": arguments.dimension,
        "queries": arguments.queries,
        "sizes": {},
    }
    for size in arguments.sizes:
        figures = {"store": _store_figures(_store(folder, size, arguments.dimension), size)}
        vectors, queries = _clustered(size, arguments.dimension, arguments.queries)
        kinds: list[Kind] = ["flat", "hnsw"] if size in arguments.graphs else ["flat"]
        for kind in kinds:
            figures[kind] = _index_figures(kind, vectors, queries)
        report["sizes"][str(size)] = figures
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _store(folder: Path, passages: int, dimension: int) -> Path:
    """A store as large as a real one, written past `DocumentStore.put`, which takes its time."""
    path = folder / f"{passages}-{dimension}.db"
    if path.exists():
        return path
    store = DocumentStore(path)
    store.set_identity(IndexIdentity("m", "0" * 64, dimension, "", "", 256, 1))
    store.close()
    documents = passages // PER_DOCUMENT
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, 0, ?, NULL, 'hash', '', '{}', ?)",
        ((i, f"document {i}", i, "x" * 800) for i in range(1, documents + 1)),
    )
    connection.executemany(
        "INSERT INTO passages VALUES (?, ?, ?, 0, 10, ?)",
        (
            (i * PER_DOCUMENT + j + 1, i + 1, j, bytes(4 * dimension))
            for i in range(documents)
            for j in range(PER_DOCUMENT)
        ),
    )
    connection.executemany("INSERT INTO metadata VALUES (?, ?, ?, ?)", sorted(_metadata(documents)))
    connection.commit()
    connection.close()
    return path


def _metadata(documents: int) -> Iterator[_Row]:
    order = np.random.default_rng(SEED).permutation(documents)
    for number, rank in enumerate(order.tolist(), 1):
        yield "rank", "number", rank, number
        for name, share in SHARES.items():
            if rank < max(1, documents * share):
                yield name, "boolean", 1, number


def _store_figures(path: Path, passages: int) -> dict[str, Any]:
    documents = passages // PER_DOCUMENT
    filters: dict[str, Filters] = {}
    for name, share in SHARES.items():
        filters[f"{name} by equality"] = {name: True}
        filters[f"{name} by range"] = {"rank": {"lt": max(1, documents * share)}}
    filters["50 % and 1 %"] = {"50 %": True, "rank": {"lt": documents * 0.01}}
    filters["99 % by not"] = {"not": {"1 %": True}}
    store = DocumentStore(path)
    figures = {}
    with store.view() as view:
        for name, asked in filters.items():
            remembered = AllowedPassages()
            kept = len(remembered.of(view, asked))
            figures[name] = {
                "kept": kept,
                "ms": _median_ms(lambda asked=asked: view.allowed(asked)),
                "ms_remembered": _median_ms(
                    lambda asked=asked, known=remembered: known.of(view, asked)
                ),
            }
    store.close()
    return figures


def _clustered(size: int, dimension: int, queries: int) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((CLUSTERS, dimension), np.float32)
    vectors = 0.7 * rng.standard_normal((size, dimension), np.float32)
    vectors += centres[rng.integers(0, CLUSTERS, size)]
    near = vectors[rng.integers(0, size, queries)]
    asked = near + 0.2 * rng.standard_normal(near.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, asked / np.linalg.norm(asked, axis=1, keepdims=True)


def _index_figures(kind: Kind, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    ids = np.arange(1, len(vectors) + 1)
    batches = ((ids[i : i + 4096], vectors[i : i + 4096]) for i in range(0, len(ids), 4096))
    began = time.process_time()
    index = FaissIndex.build(batches, dimension=vectors.shape[1], kind=kind)
    figures: dict[str, Any] = {"build_s": round(time.process_time() - began, 1)}
    for where in ("at random", "of the topic", "of the others"):
        for name, share in INDEX_SHARES.items():
            keep = max(1, int(len(vectors) * share))
            figures[f"{name} {where}"] = _measured(index, vectors, queries, where, keep)
    return figures


def _measured(
    index: FaissIndex, vectors: Vectors, queries: Vectors, where: str, keep: int
) -> dict[str, Any]:
    recalls, times = [], []
    for query in queries:
        scores = vectors @ query
        allowed = _kept(scores, where, keep)
        began = time.process_time()
        (found,) = index.search(query[None], K, allowed)
        times.append(1000 * (time.process_time() - began))
        wanted = _exact(vectors, query, scores, allowed)
        recalls.append(len(wanted & {candidate.passage_id for candidate in found}) / len(wanted))
    return {
        "kept": keep,
        "recall@100": round(statistics.mean(recalls), 4),
        "lowest": round(min(recalls), 4),
        "ms": round(statistics.median(times), 1),
    }


def _kept(scores: NDArray[np.float32], where: str, keep: int) -> Ids:
    if where == "at random":
        chosen = np.random.default_rng(keep).choice(len(scores), keep, replace=False)
    else:
        sign = -1 if where == "of the topic" else 1
        chosen = np.argpartition(sign * scores, keep - 1)[:keep]
    return np.sort(chosen) + 1


def _exact(
    vectors: Vectors, query: NDArray[np.float32], scores: NDArray[np.float32], allowed: Ids
) -> set[int]:
    """The best in float64, among somewhat more that float32 takes for the best."""
    some = allowed[np.argsort(-scores[allowed - 1])[: 2 * K]]
    exact = vectors[some - 1].astype(np.float64) @ query.astype(np.float64)
    return set(some[np.lexsort((some, -exact))[:K]].tolist())


def _median_ms(work: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - began))
    return round(statistics.median(taken), 3)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--graphs", type=int, nargs="*", default=[100_000])
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="for the stores; else a temporary one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
