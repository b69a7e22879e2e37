"""Memory, recall@100 and time of a query for several ways to keep vectors in an index.

Each is measured in a process of its own: anonymous memory (`RssAnon`) with the index less what the
process had before, its vectors being read from a file in batches. Recall is against the exact order
of the float32 vectors. The first vectors are those of texts, cut to 384 dimensions; the second ones
are a million mixtures of two of them each. `served` is this package's `FaissIndex`, the others are
FAISS alone.

    python -m benchmarks.index_memory --collection DIR ... [--mixtures 1000000]
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np

from service.evaluation.provenance import provenance
from service.index.faiss_index import FaissIndex
from service.types import Ids, Vectors

SEED = 7
DIMENSION, TOP, QUERIES, BATCH = 384, 100, 200, 4096
LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 200, 600
TRAINING = 40_000

KINDS = {
    "float32 flat, served": "flat",
    "float32 HNSW, served": "hnsw",
    "float32 flat": "Flat",
    "SQ8 flat": "SQ8",
    "PQ 96x8": "PQ96",
    "PQ 48x8": "PQ48",
    "float32 HNSW": f"HNSW{LINKS},Flat",
    "SQ8 HNSW": f"HNSW{LINKS},SQ8",
    "PQ 96x8 HNSW": f"HNSW{LINKS},PQ96",
}
WITHOUT_GRAPH = [name for name, kind in KINDS.items() if "hnsw" not in kind.lower()]

Search = Callable[[Vectors], list[list[int]]]


def main() -> None:
    """Write the figures as JSON to standard output, each one to standard error as it comes."""
    arguments = _arguments()
    if arguments.measure:
        name, folder = arguments.measure
        sys.stdout.write(json.dumps(_measure(KINDS[name], Path(folder))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as parent:
        vectors, queries = _of_texts(arguments.collection)
        report = {
            **provenance(SEED),
            "command": "python -m benchmarks.index_memory",
            "dimension": DIMENSION,
            "texts": [folder.name for folder in arguments.collection],
            "hnsw": {"links": LINKS, "build_width": BUILD_WIDTH, "search_width": SEARCH_WIDTH},
            "of_texts": _table(Path(parent) / "texts", vectors, queries, list(KINDS)),
        }
        if arguments.mixtures:
            mixed = _mixtures(vectors, arguments.mixtures)
            report["mixtures"] = _table(Path(parent) / "mixed", mixed, queries, WITHOUT_GRAPH)
    report["processors"] = os.cpu_count()
    report["load_average"] = [round(load, 1) for load in os.getloadavg()]
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _of_texts(folders: list[Path]) -> tuple[Vectors, Vectors]:
    # Not for the processes that are measured: it brings torch along.
    from benchmarks.material import of_collections  # noqa: PLC0415

    material = of_collections(folders)
    parts = [
        _unit(material.encoder.encode_passages(material.texts[start : start + BATCH]))
        for start in range(0, len(material.texts), BATCH)
    ]
    vectors = np.unique(np.concatenate(parts), axis=0)
    draw = np.random.default_rng(SEED)
    queries = _unit(material.queries)
    return draw.permutation(vectors), draw.permutation(queries)[:QUERIES]


def _unit(vectors: Vectors) -> Vectors:
    cut = vectors[:, :DIMENSION]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    kept = lengths[:, 0] > 0
    unit: Vectors = (cut[kept] / lengths[kept]).astype(np.float32)
    return unit


def _mixtures(vectors: Vectors, count: int) -> Vectors:
    draw = np.random.default_rng(SEED)
    mixed = np.empty((count, vectors.shape[1]), np.float32)
    for start in range(0, count, BATCH):
        first, second = draw.integers(len(vectors), size=(2, min(BATCH, count - start)))
        mixed[start : start + BATCH] = vectors[first] + 0.6 * vectors[second]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return mixed


def _table(
    folder: Path, vectors: Vectors, queries: Vectors, kinds: list[str]
) -> dict[str, dict[str, float]]:
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "nearest.npy", _exact(vectors, queries))
    table = {}
    for name in kinds:
        command = [sys.executable, "-m", "benchmarks.index_memory", "--measure", name, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        table[name] = json.loads(done.stdout)
        sys.stderr.write(f"{len(vectors)} {name}: {table[name]}\n")
    return table


def _exact(vectors: Vectors, queries: Vectors) -> Ids:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    nearest: Ids = index.search(queries, TOP)[1]
    return nearest


def _measure(kind: str, folder: Path) -> dict[str, float]:
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries, nearest = np.load(folder / "queries.npy"), np.load(folder / "nearest.npy")
    gc.collect()
    before, began = _anonymous_mb(), time.process_time()
    search = (_served if kind in {"flat", "hnsw"} else _plain)(kind, vectors)
    built = time.process_time() - began
    gc.collect()
    _trim()
    memory = _anonymous_mb() - before
    search(queries[:3])
    began = time.process_time()
    found = [search(query[None])[0] for query in queries]
    spent = time.process_time() - began
    shared = [len(set(a) & set(b)) / TOP for a, b in zip(found, nearest.tolist(), strict=True)]
    return {
        "passages": len(vectors),
        "mb": round(memory, 1),
        "mb_per_million": round(memory * 1e6 / len(vectors)),
        "recall@100": round(float(np.mean(shared)), 4),
        "ms_per_query": round(1000 * spent / len(queries), 2),
        "build_s": round(built, 1),
    }


def _batches(vectors: Vectors) -> Iterator[tuple[Ids, Vectors]]:
    for start in range(0, len(vectors), BATCH):
        batch = np.array(vectors[start : start + BATCH])
        yield np.arange(start, start + len(batch), dtype=np.int64), batch


def _served(kind: str, vectors: Vectors) -> Search:
    index = FaissIndex.build(
        _batches(vectors), dimension=DIMENSION, kind="hnsw" if kind == "hnsw" else "flat"
    )
    return lambda queries: [
        [candidate.passage_id for candidate in row] for row in index.search(queries, TOP)
    ]


def _plain(kind: str, vectors: Vectors) -> Search:
    index = faiss.index_factory(DIMENSION, kind, faiss.METRIC_INNER_PRODUCT)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_WIDTH, SEARCH_WIDTH
    if not index.is_trained:
        chosen = np.random.default_rng(SEED).permutation(len(vectors))[:TRAINING]
        index.train(np.array(vectors[np.sort(chosen)]))
    for _, batch in _batches(vectors):
        index.add(batch)
    return lambda queries: index.search(queries, TOP)[1].tolist()


def _anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def _trim() -> None:
    """Give back to the system what was freed."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL("libc.so.6").malloc_trim(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, nargs="*", default=[], help="BEIR folders")
    parser.add_argument("--mixtures", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="for a few gigabytes of vectors")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
