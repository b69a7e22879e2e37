"""Passages a second on the way in, and the memory of a server that has many."""

import gc
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.growth.texts import every_sentence, passages
from benchmarks.speed.http import Connection
from benchmarks.speed.preparation import ENCODER
from benchmarks.speed.processes import ROOT, BenchError, Process, free_port
from service.engine.build import build_encoder, index_identity
from service.engine.ingestion import ingesting
from service.index.index_kinds import kind_for
from service.protocols import Encoder
from service.settings import Settings
from service.store.data_folder import DataFolder
from service.types import Document, EncodedDocument, Span, Vectors

LOGS = ROOT / ".bench" / "logs"
SSE_SECONDS_BAR, MEMORY_BAR_MB = 60.0, 1500.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest into an empty folder came to; `states` of its passages are on the disk.

    `stored_seconds` until the last passage was stored, `seconds` until the index was, too.
    """

    documents: int
    passages: int
    states: int
    stored_seconds: float
    seconds: float


def ingest(many: int) -> dict[str, Any]:
    """Of the static encoder, from the first document to an index."""
    return {"sse": _sse(list(passages(every_sentence(), many + many // 4)), many)}


def ingested(settings: Settings, texts: Sequence[str]) -> Ingested:
    """As `secondpass ingest` does it, in an empty folder; models are loaded before the clock."""
    with tempfile.TemporaryDirectory() as parent:
        own = settings.model_copy(update={"data_dir": Path(parent) / "data"})
        rows = (Document(f"d{number}", text) for number, text in enumerate(texts))
        with DataFolder.open(own.data_dir) as folder, ingesting(folder, own) as ingestor:
            began = perf_counter()
            report = ingestor.ingest(rows)
            stored = perf_counter() - began
        seconds = perf_counter() - began
        del ingestor
        gc.collect()  # it refers to itself, and would keep its models beside the next one's
        return Ingested(report.added, report.passages, _states_in(own.data_dir), stored, seconds)


def _states_in(data_dir: Path) -> int:
    file = data_dir / "states.db"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        count: int = connection.execute("SELECT count(*) FROM states").fetchone()[0]
    return count


def _sse(pool: Sequence[str], many: int) -> list[dict[str, Any]]:
    """From the first document to an index on the disk, with the settings that a user has.

    First `many` documents of one passage each, which is what the bar is about and what an exact
    index is built of by default; then `many` as they come, which are more passages and may get a
    graph. The default reranker reads another encoder's states: a server makes them while it is
    idle.
    """
    settings = Settings(encoder="sse-512", hub_offline=True, device="cpu")
    single = _of_one_passage(build_encoder(settings), pool)[:many]
    if len(single) < many:
        raise BenchError(f"only {len(single)} of {len(pool)} texts are one passage")
    rows = []
    for texts, bar in ((single, SSE_SECONDS_BAR * many / 100_000), (pool[:many], None)):
        done = ingested(settings, texts)
        rows.append(
            {
                "documents": done.documents,
                "passages": done.passages,
                "index": kind_for(done.passages, settings.hnsw_threshold),
                "store_seconds": round(done.stored_seconds, 1),
                "seconds": round(done.seconds, 1),
                "states_left_to_the_server": done.passages - done.states,
                "bar_seconds": bar,
            }
        )
    return rows


def _of_one_passage(encoder: Encoder, texts: Sequence[str]) -> list[str]:
    counts = encoder.count_tokens(texts)
    return [t for t, count in zip(texts, counts, strict=True) if count <= encoder.passage_budget]


def memory(number: int, searches: int) -> dict[str, Any]:
    """A server with the default models over `number` passages whose vectors are made up.

    What a passage's text and vector are changes nothing of what they take up. None has token
    states: the server makes them in between, which takes up more than reading them. Raises
    `BenchError` where a search fails.
    """
    from benchmarks.growth.index import clustered  # noqa: PLC0415 - faiss, for this part alone

    texts = list(passages(every_sentence(), number))
    with tempfile.TemporaryDirectory() as parent:
        data_dir = Path(parent) / "data"
        _fill(data_dir, texts, clustered(number))
        port = free_port()
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        flags = ["--data-dir", str(data_dir), "--hub-offline", "--log-level", "warning"]
        with Process([*command, *flags], LOGS / "memory.log") as server:
            server.wait_until(lambda: answers(port, "Is it there?"))
            first = server.peak_mb()
            for text in texts[:searches]:
                search(port, text[:200])
            return {
                "passages": number,
                "start_mb": first,
                "peak_mb": server.peak_mb(),
                "searches": searches,
                "bar_mb": MEMORY_BAR_MB,
            }


def _fill(data_dir: Path, texts: list[str], vectors: Vectors) -> None:
    settings = Settings(data_dir=data_dir, encoder=ENCODER, hub_offline=True, device="cpu")
    identity = index_identity(settings, build_encoder(settings).identity)
    with DataFolder.open(data_dir) as folder:
        folder.store.set_identity(identity)
        for start in range(0, len(texts), 1000):
            batch = range(start, min(start + 1000, len(texts)))
            folder.store.put(
                [
                    EncodedDocument(
                        Document(f"d{i}", texts[i]), [Span(0, len(texts[i]))], vectors[i : i + 1]
                    )
                    for i in batch
                ]
            )


def answers(port: int, query: str) -> bool:
    """Whether somebody answers there by now."""
    try:
        search(port, query)
    except (OSError, BenchError):
        return False
    return True


def search(port: int, query: str) -> None:
    """Raises `OSError` or `BenchError` where there is no answer, or one without hits."""
    connection = Connection(port)
    try:
        answer, _ = connection.post("/search", {"query": query, "num_candidates": 100})
    finally:
        connection.close()
    if not answer["hits"]:
        raise BenchError("a search found nothing")
