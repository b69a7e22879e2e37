"""Passages a second on the way in, and the memory of a server that has many."""

import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from sentence_transformers import SentenceTransformer

from benchmarks.growth.texts import every_sentence, passages
from benchmarks.speed.http import Connection
from benchmarks.speed.preparation import ENCODER
from benchmarks.speed.processes import ROOT, BenchError, Process, free_port
from service.index.data_folder import DataFolder
from service.index.records import EncodedDocument
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.pipeline.build import build_encoder
from service.pipeline.opening import open_ingestion
from service.settings import Settings
from service.types import Document, Span, Vectors

LOG = ROOT / ".bench" / "logs" / "memory.log"
INGEST_BAR, SSE_SECONDS_BAR, MEMORY_BAR_MB = 1.5, 60.0, 1500.0


def ingest(rounds: int, few: int, many: int) -> dict[str, Any]:
    """Of the default encoder against `SentenceTransformer.encode`; of the static one with all."""
    texts = list(passages(every_sentence(), many))
    return {
        "encode": _against_sentence_transformers(texts[:few], rounds),
        "sse": _sse(texts),
    }


def _against_sentence_transformers(texts: list[str], rounds: int) -> dict[str, Any]:
    """The same weights, in turn: ours as an ingest calls it, theirs by its own defaults."""
    settings = Settings(encoder=ENCODER, hub_offline=True, device="cpu")
    ours = build_encoder(settings)
    kind = REGISTRY[ENCODER].kind
    folder = prepare(ENCODER, kind, cache_dir=settings.cache_dir, offline=True).folder
    theirs = SentenceTransformer(str(folder), device="cpu")
    rates: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        began = perf_counter()
        ours.encode_passages(texts)
        between = perf_counter()
        theirs.encode(texts, prompt="passage: ", normalize_embeddings=True)
        ended = perf_counter()
        if number:
            rates.append((len(texts) / (between - began), len(texts) / (ended - between)))
    return {
        "passages": len(texts),
        "mean_tokens": round(statistics.mean(ours.count_tokens(texts)), 1),
        "ours_per_second": round(statistics.median(rate for rate, _ in rates), 1),
        "sentence_transformers_per_second": round(statistics.median(r for _, r in rates), 1),
        "ratio": round(statistics.median(a / b for a, b in rates), 3),
        "bar": INGEST_BAR,
    }


def _sse(texts: list[str]) -> dict[str, Any]:
    """From the first document to an index on the disk, in an empty folder."""
    with tempfile.TemporaryDirectory() as parent:
        settings = Settings(
            data_dir=Path(parent) / "data",
            encoder="sse-512",
            reranker="none",
            hub_offline=True,
            device="cpu",
        )
        rows = (Document(f"d{number}", text) for number, text in enumerate(texts))
        with open_ingestion(settings) as ingestion:
            began = perf_counter()
            report = ingestion.ingestor.ingest(rows)
            stored = perf_counter() - began
        seconds = perf_counter() - began
    return {
        "documents": report.added,
        "passages": report.passages,
        "store_seconds": round(stored, 1),
        "seconds": round(seconds, 1),
        "bar_seconds": SSE_SECONDS_BAR * len(texts) / 100_000,
    }


def memory(number: int, searches: int) -> dict[str, Any]:
    """A server with the default models over `number` passages whose vectors are made up.

    What a passage's text and vector are changes nothing of what they take up.
    """
    from benchmarks.growth.index import clustered  # noqa: PLC0415 - faiss, for this part alone

    texts = list(passages(every_sentence(), number))
    with tempfile.TemporaryDirectory() as parent:
        data_dir = Path(parent) / "data"
        _fill(data_dir, texts, clustered(number))
        port = free_port()
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        flags = ["--data-dir", str(data_dir), "--hub-offline", "--log-level", "warning"]
        with Process([*command, *flags], LOG) as server:
            server.wait_until(lambda: _answers(port, "Is it there?"))
            first = server.peak_mb()
            for text in texts[:searches]:
                _answers(port, text[:200])
            return {
                "passages": number,
                "start_mb": first,
                "peak_mb": server.peak_mb(),
                "searches": searches,
                "bar_mb": MEMORY_BAR_MB,
            }


def _fill(data_dir: Path, texts: list[str], vectors: Vectors) -> None:
    settings = Settings(data_dir=data_dir, encoder=ENCODER, hub_offline=True, device="cpu")
    identity = build_encoder(settings).identity
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


def _answers(port: int, query: str) -> bool:
    connection = Connection(port)
    try:
        connection.post("/search", {"query": query, "num_candidates": 100})
    except (OSError, BenchError):
        return False
    finally:
        connection.close()
    return True
