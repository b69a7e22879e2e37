"""Searches, writes, deletes and compactions at once, each n-th search checked against an oracle.

Writers store new documents (staged, and encoded by the indexer), change and delete them; the
compactor builds generations; searchers never stop. The oracle scores every passage that the store
has in the very view of the search, in float64. Said at the end: recall@100 over the run (mean,
worst search, worst minute), documents returned whose delete was acknowledged before the search
began (there must be none), and what a search takes with the writers and before them.

    python -m benchmarks.mixed_load --minutes 15 --hnsw-threshold 20000 --collection DIR ...

The texts are those of BEIR folders through a static encoder, or made up.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import Material, made_up, of_collections
from service.evaluation.provenance import provenance
from service.index import generation as generations
from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.search.retriever import Retriever
from service.store.data_folder import DataFolder
from service.types import Document, EncodedDocument, Span, Vectors
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor

SEED = 7
TOP = 100
RECALL = 0.99


@dataclass
class Figures:
    """What the searchers saw."""

    calm_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)
    checks: list[tuple[float, float]] = field(default_factory=list)
    """Of each checked search: seconds since the begin, and its recall."""
    short: int = 0
    deleted_returned: int = 0
    writes: dict[str, int] = field(default_factory=dict)
    generations: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    most_segments: int = 0
    largest_log_mb: float = 0.0


class MixedLoad:
    """One folder, its threads, and what they do."""

    def __init__(self, path: Path, arguments: argparse.Namespace) -> None:
        self.material = of_collections(arguments.collection) if arguments.collection else made_up()
        self.encoder, self.figures = self.material.encoder, Figures()
        self._every = arguments.check_every
        self._pause = arguments.pause_ms / 1000
        self.data = DataFolder.open(path)
        self.data.store.set_identity(self.encoder.identity)
        _fill(self.data, self.material, arguments.passages)
        self.threshold = arguments.hnsw_threshold
        base = open_or_build(
            self.data.store,
            self.data.generations,
            self.encoder.identity,
            hnsw_threshold=self.threshold,
            complete=True,
        )
        with self.data.store.view() as view:
            self.index = LiveIndex(base, view)
        self.retriever = Retriever(
            self.data.store, self.index, passages_per_document=arguments.passages
        )
        self.indexer = Indexer(
            self.data.main,
            self.index,
            Ingestor(self.data.store, self.encoder, overlap=0, chunked=False),
            self.encoder.identity,
            hnsw_threshold=self.threshold,
        )
        self._gone: dict[str, int] = {}
        """Ids whose delete was acknowledged; they are never used again."""
        self._lock = threading.Lock()
        self._numbers = iter(range(arguments.passages, 10**9))
        self.stop = threading.Event()
        self.busy = threading.Event()
        self.began = time.monotonic()

    def write(self, seed: int) -> None:
        """New documents, changed ones and deletes in turn, until `stop`."""
        draw = random.Random(seed)  # noqa: S311
        mine: list[str] = []
        store = self.data.store
        while not self.stop.is_set():
            how = draw.choices(["add", "change", "delete"], [4, 3, 3 if len(mine) > 200 else 1])[0]
            if how == "add" or len(mine) < 20:
                how, ids = "add", [f"w{next(self._numbers)}" for _ in range(draw.randint(1, 20))]
                mine += ids
            else:
                ids = draw.sample(mine, draw.randint(1, 10))
            if how == "delete":
                store.delete(ids)
                with self._lock:
                    self._gone |= dict.fromkeys(ids, 0)
                mine = [id_ for id_ in mine if id_ not in set(ids)]
            else:
                store.stage([Document(id_, self._text(draw)) for id_ in ids])
                self.indexer.wake()
            with self._lock:
                self.figures.writes[how] = self.figures.writes.get(how, 0) + len(ids)
            time.sleep(self._pause)

    def delete_base(self, passages: int) -> None:
        """The documents that were there at first go too, one after another."""
        for id_ in random.Random(SEED).sample(range(passages), passages):  # noqa: S311
            if self.stop.wait(5 * self._pause):
                return
            self.data.store.delete([f"b{id_}"])
            with self._lock:
                self._gone[f"b{id_}"] = 0

    def search(self, seed: int) -> None:
        """Searches without a pause, each n-th one checked, until `stop`."""
        draw = random.Random(seed)  # noqa: S311
        done = 0
        while not self.stop.is_set():
            query = self.material.queries[[draw.randrange(len(self.material.queries))]]
            done += 1
            if done % self._every == 0:
                self._check(query)
                continue
            began = time.perf_counter()
            self.retriever.find(query, TOP, {})
            milliseconds = 1000 * (time.perf_counter() - began)
            (self.figures.busy_ms if self.busy.is_set() else self.figures.calm_ms).append(
                milliseconds
            )

    def _check(self, query: Vectors) -> None:
        figures = self.figures
        with self._lock:
            gone = set(self._gone)
        with self.index.view(self.data.store) as (store, index):
            (found,) = index.search(query, TOP)
            passages = store.passages([candidate.passage_id for candidate in found])
            figures.deleted_returned += sum(p.document_id in gone for p in passages.values())
            wanted = _nearest(store.vectors(8192), query)
        recall = len(wanted & {c.passage_id for c in found} & passages.keys()) / len(wanted)
        figures.checks.append((time.monotonic() - self.began, recall))
        figures.short += len(passages) < len(wanted)
        figures.generations.add(index.generation)
        figures.kinds.add(index.base.kind)
        figures.most_segments = max(figures.most_segments, len(index.segments))
        log = self.data.path / "store.db-wal"
        figures.largest_log_mb = max(figures.largest_log_mb, log.stat().st_size / 2**20)

    def _text(self, draw: random.Random) -> str:
        return draw.choice(self.material.texts)


def _nearest(batches: Any, query: Vectors) -> set[int]:
    """Ids of the best passages of all, ties by id."""
    ids, scores = [], []
    for batch_ids, vectors in batches:
        ids.append(batch_ids)
        scores.append(vectors.astype(np.float64) @ query[0].astype(np.float64))
    all_ids, all_scores = np.concatenate(ids), np.concatenate(scores)
    return set(all_ids[np.lexsort((all_ids, -all_scores))[:TOP]].tolist())


def _fill(data: DataFolder, material: Material, passages: int) -> None:
    for start in range(0, passages, 1000):
        ids = range(start, min(start + 1000, passages))
        texts = [material.texts[id_ % len(material.texts)] for id_ in ids]
        vectors = material.encoder.encode_passages(texts)
        data.store.put(
            [
                EncodedDocument(Document(f"b{id_}", text), [Span(0, len(text))], vectors[i : i + 1])
                for i, (id_, text) in enumerate(zip(ids, texts, strict=True))
            ]
        )


def main() -> None:
    """Write the figures as JSON to standard output; ends with status 1 where a promise broke."""
    arguments = _arguments()
    if arguments.least_changes:
        generations._LEAST_CHANGES = arguments.least_changes
    with tempfile.TemporaryDirectory(dir=arguments.folder) as parent:
        load = MixedLoad(Path(parent) / "data", arguments)
        report = _run(load, arguments)
        load.data.close()
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if report["held"] else 1)


def _run(load: MixedLoad, arguments: argparse.Namespace) -> dict[str, Any]:
    seconds = 60 * arguments.minutes
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(load.search, seed) for seed in range(arguments.searchers)]
        load.stop.wait(min(60.0, seconds / 10))  # without writers
        load.busy.set()
        load.indexer.start()
        work: list[Callable[[], None]] = [
            *(lambda seed=seed: load.write(100 + seed) for seed in range(arguments.writers)),
            lambda: load.delete_base(arguments.passages),
        ]
        running += [pool.submit(each) for each in work]
        end = time.monotonic() + seconds
        while time.monotonic() < end and not any(each.done() for each in running[:-1]):
            time.sleep(0.5)
        load.stop.set()
        for each in running:
            each.result()
    load.indexer.close()
    return _report(load, arguments)


def _report(load: MixedLoad, arguments: argparse.Namespace) -> dict[str, Any]:
    figures = load.figures
    recalls = [recall for _, recall in figures.checks]
    minutes: dict[int, list[float]] = {}
    for second, recall in figures.checks:
        minutes.setdefault(int(second // 60), []).append(recall)
    by_minute = [float(np.mean(minutes[minute])) for minute in sorted(minutes)]
    held = min(by_minute) >= RECALL and not figures.deleted_returned and not figures.short
    with load.data.store.view() as store:
        passages_at_last = store.counts.passages
    return {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.mixed_load", *sys.argv[1:]]),
        "minutes": arguments.minutes,
        "dimension": load.encoder.identity.dimension,
        "texts": [folder.name for folder in arguments.collection or ()] or "made up",
        "passages_at_first": arguments.passages,
        "passages_at_last": passages_at_last,
        "index": sorted(figures.kinds),
        "held": held,
        "searches": len(figures.busy_ms),
        "checked": len(recalls),
        "recall@100": {
            "mean": round(float(np.mean(recalls)), 5),
            "worst_minute": round(min(by_minute), 5),
            "worst_search": min(recalls),
            "searches_below_0.99": sum(recall < RECALL for recall in recalls),
        },
        "deleted_returned": figures.deleted_returned,
        "fewer_than_there_are": figures.short,
        "search_ms": {
            name: {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99, 100)}
            for name, values in [
                ("without_writers", figures.calm_ms),
                ("with_writers", figures.busy_ms),
            ]
            if values
        },
        "documents_written": figures.writes,
        "generations_seen": len(figures.generations),
        "most_segments": figures.most_segments,
        "largest_write_ahead_log_mb": round(figures.largest_log_mb, 1),
        "problems": load.indexer.problems,
        "processors": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--collection", type=Path, nargs="*", help="BEIR folders")
    parser.add_argument("--passages", type=int, default=30_000, help="there at first")
    parser.add_argument("--hnsw-threshold", type=int, default=100_000)
    parser.add_argument("--least-changes", type=int, help="compact after so many, for small tries")
    parser.add_argument("--searchers", type=int, default=2)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--pause-ms", type=float, default=20.0, help="between a writer's steps")
    parser.add_argument("--check-every", type=int, default=10, help="searches")
    parser.add_argument("--folder", type=Path, help="where the data folder is made")
    return parser.parse_args()


if __name__ == "__main__":
    main()
