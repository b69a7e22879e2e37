"""BM25 in SQLite (FTS5), as the service has it, against the package bm25s, on the same words.

Passages of all given collections are cut at a number of characters, shuffled with a seed, and
indexed in growing numbers; then each collection's queries are asked, one at a time. Times are of
this process (CPU), so that whatever else the machine does counts little.

    python benchmarks/hybrid_speed.py --collection DIR --collection DIR ... [--size 10000]
"""

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import bm25s
import numpy as np

from service.datasets import Collection, open_collection
from service.evaluation.measures import means, per_query
from service.evaluation.provenance import provenance, versions
from service.store import lexical
from service.words import tokenize

CANDIDATES = 100
COMMIT = 64
"""Passages in a transaction, as an ingest has them."""

Passages = list[tuple[str, str]]
"""(collection and document, its title and a piece of its text)."""
Row = TypeVar("Row")
Search = Callable[[str], list[int]]


def main() -> None:
    """Write the figures as JSON to standard output."""
    arguments = _arguments()
    collections = {path.name: open_collection(path) for path in arguments.collection}
    passages = _passages(collections, arguments.characters)
    passages = _sample(passages, len(passages))
    asked = [collections[name] for name in arguments.ask]
    report: dict[str, Any] = {
        **provenance(0),
        "packages": versions(["bm25s"]) | {"sqlite": sqlite3.sqlite_version},
        "passages": len(passages),
        "sizes": {},
    }
    for size in arguments.size:
        some = passages[:size]
        report["sizes"][len(some)] = _compared(some, asked, arguments.queries)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _passages(collections: dict[str, Collection], characters: int) -> Passages:
    return [
        (f"{name}/{document.id}", f"{document.title}\n{document.text[start : start + characters]}")
        for name, collection in collections.items()
        for document in collection.documents
        for start in range(0, max(1, len(document.text)), characters)
    ]


def _sample(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` of the rows at most, drawn with a seed, in random order."""
    return random.Random(0).sample(rows, min(count, len(rows)))  # noqa: S311 (no secret)


def _compared(passages: Passages, asked: Sequence[Collection], queries: int) -> dict[str, Any]:
    documents = [document for document, _ in passages]
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, build in (("fts5", _fts5), ("bm25s", _bm25s)):
            began = time.process_time()
            search, size = build([text for _, text in passages], Path(folder))
            seconds = time.process_time() - began
            report[name] = {
                "index_seconds": round(seconds, 1),
                "index_megabytes": round(size / 1e6, 1),
                "asked": {c.name: _asked(search, c, documents, queries) for c in asked},
            }
    return report


def _asked(
    search: Search, collection: Collection, documents: Sequence[str], queries: int
) -> dict[str, float]:
    there = set(documents)
    # Only what a search could find: relevant documents that are among these passages.
    qrels = {
        query: {
            f"{collection.name}/{document}": grade
            for document, grade in grades.items()
            if grade > 0 and f"{collection.name}/{document}" in there
        }
        for query, grades in collection.qrels.items()
    }
    chosen = sorted(query for query, grades in qrels.items() if grades)
    chosen = _sample(chosen, queries)
    run, times = {}, []
    for query in chosen:
        began = time.process_time()
        found = search(collection.queries[query])
        times.append(1000 * (time.process_time() - began))
        run[query] = list(dict.fromkeys(documents[place] for place in found))
    judged = {query: qrels[query] for query in chosen}
    figures = means(per_query(judged, run, ["ndcg@10", "recall@100"]))
    return {
        "queries": len(chosen),
        **{name: round(figure, 4) for name, figure in figures.items()},
        "median_ms": round(float(np.median(times)), 1),
        "p95_ms": round(float(np.quantile(times, 0.95)), 1),
    }


def _fts5(texts: Sequence[str], folder: Path) -> tuple[Search, int]:
    path = folder / "words.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in lexical.TABLES:
        connection.execute(statement)
    for start in range(0, len(texts), COMMIT):
        connection.execute("BEGIN")
        numbered = enumerate(texts[start : start + COMMIT], start)
        lexical.insert(connection, ((place, "", text) for place, text in numbered))
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def search(query: str) -> list[int]:
        return [found.passage_id for found in lexical.search(connection, query, CANDIDATES)]

    return search, path.stat().st_size


def _bm25s(texts: Sequence[str], folder: Path) -> tuple[Search, int]:
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index([tokenize(text) or [""] for text in texts], show_progress=False)
    index.save(folder / "bm25s")

    def search(query: str) -> list[int]:
        words = [word for word in tokenize(query) if word in index.vocab_dict]
        if not words:
            return []
        scores = index.get_scores(words)
        best = np.argsort(-scores, kind="stable")[:CANDIDATES]
        return [int(place) for place in best if scores[place] > 0]

    return search, sum(file.stat().st_size for file in (folder / "bm25s").iterdir())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, action="append", required=True)
    parser.add_argument("--ask", action="append", required=True, help="ask this one's queries")
    parser.add_argument("--size", type=int, action="append", required=True)
    parser.add_argument("--queries", type=int, default=100, help="of each collection, at most")
    parser.add_argument("--characters", type=int, default=700, help="of a passage, at most")
    return parser.parse_args()


if __name__ == "__main__":
    main()
