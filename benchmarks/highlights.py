"""How often the first highlight of a right hit overlaps the sentence with the answer.

For each labelled set with an `answers.jsonl` (a query's `_id`, and where in its passage the answer
is), a seeded sample of queries is searched in an index of their own. It holds their passages and
as many others. A hit is right if it is the labelled passage. The CPU time is that of a whole
search for ten hits, with highlights and without.

    python -m benchmarks.highlights FOLDER... [--queries 200] > benchmarks/results/highlights.json
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from service.engine.engine import open_engine
from service.engine.ingestion import ingesting
from service.search.highlights import PART_BYTES
from service.search.query import Query
from service.search.searcher import Searcher
from service.settings import Settings
from service.store.data_folder import DataFolder
from service.text.chunker import sentences
from service.types import Document, Span

TIMED = 50


@dataclass(frozen=True)
class Case:
    """A query, the id of its document, and the sentence with the answer in that document."""

    query: str
    document: str
    sentence: Span


def main() -> None:
    """Write the report to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    sets = {folder.name: asyncio.run(_measured(folder, given.queries)) for folder in given.folders}
    right = sum(one["right_hits"] for one in sets.values())
    report = {
        "command": f"python -m benchmarks.highlights FOLDER... --queries {given.queries}",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
            check=True, capture_output=True, text=True,
        ).stdout.strip(),
        "part_bytes": PART_BYTES,
        "share": round(sum(one["share"] * one["right_hits"] for one in sets.values()) / right, 3),
        "sets": sets,
    }  # fmt: skip
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


async def _measured(folder: Path, queries: int) -> dict[str, Any]:
    documents, cases = _sample(folder, queries)
    with tempfile.TemporaryDirectory() as data:
        settings = Settings(data_dir=Path(data), threads=1)
        with DataFolder.open(settings.data_dir) as opened, ingesting(opened, settings) as ingestor:
            ingestor.ingest(documents)
        engine = open_engine(settings)
        try:
            overlaps, lengths = await _overlaps(engine.searcher, cases)
            times = await _times(engine.searcher, cases[:TIMED])
        finally:
            engine.close()
    return {
        "right_hits": len(overlaps),
        "share": round(float(np.mean(overlaps)), 3),
        "part_of_passage": round(float(np.mean(lengths)), 3),
        "search_cpu_ms": {name: round(1000 * float(np.median(t)), 1) for name, t in times.items()},
    }


async def _overlaps(searcher: Searcher, cases: list[Case]) -> tuple[list[bool], list[float]]:
    overlaps, lengths = [], []
    for case in cases:
        result = await searcher.search(Query(case.query, highlights=1))
        for hit in result.hits:
            if hit.id == case.document and hit.highlights:
                first, end = hit.highlights[0], case.sentence.end
                starts_before = hit.start + first.start < end
                overlaps.append(starts_before and case.sentence.start < hit.start + first.end)
                lengths.append((first.end - first.start) / len(hit.text))
    return overlaps, lengths


async def _times(searcher: Searcher, cases: list[Case]) -> dict[str, list[float]]:
    asked = {
        "plain": Query(""),
        "highlights": Query("", highlights=1),
        "explain": Query("", explain=True),
    }
    times: dict[str, list[float]] = {name: [] for name in asked}
    for case in cases:
        for name, query in asked.items():
            began = process_time()
            await searcher.search(replace(query, query=case.query))
            times[name].append(process_time() - began)
    return times


def _sample(folder: Path, queries: int) -> tuple[list[Document], list[Case]]:
    corpus = {row["_id"]: row for row in _rows(folder / "corpus.jsonl")}
    texts = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
    lines = (folder / "qrels.tsv").read_text().splitlines()[1:]
    labels = dict(line.split("\t")[:2] for line in lines)
    starts = {row["_id"]: row["start"] for row in _rows(folder / "answers.jsonl")}
    rng = random.Random(0)  # noqa: S311
    usable = sorted(id_ for id_ in starts if id_ in labels and texts.get(id_, "").strip())
    chosen = rng.sample(usable, min(queries, len(usable)))
    wanted = {labels[id_] for id_ in chosen}
    others = sorted(set(corpus) - wanted)
    wanted |= set(rng.sample(others, min(len(wanted), len(others))))
    documents = [
        Document(id_, row["text"], row.get("title") or "")
        for id_, row in sorted(corpus.items())
        if id_ in wanted
    ]
    cases = [
        Case(texts[id_], labels[id_], _sentence(corpus[labels[id_]]["text"], starts[id_]))
        for id_ in chosen
    ]
    return documents, cases


def _sentence(text: str, place: int) -> Span:
    return next(Span(*span) for span in sentences(text, 0) if span[0] <= place < span[1])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
