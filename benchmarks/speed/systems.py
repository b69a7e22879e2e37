"""The systems that are compared, each a process of its own, and who asks them."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from benchmarks.speed.http import Connection
from benchmarks.speed.processes import BenchError, Process, free_port

Kind = Literal["1 client", "16 clients", "queries", "passages"]
"""What a turn is: searches one after another, by many at once, or texts encoded in a batch."""

SERVED: tuple[Kind, ...] = ("1 client", "16 clients")
BARE_TURNS: tuple[Kind, ...] = ("1 client", "queries", "passages")

TOP_K = 10
DEPTH = 20
"""Passages that a cross-encoder reads, here and elsewhere."""

OURS, OURS_CROSS, OURS_INGEST = "secondpass", "secondpass, cross-encoder", "secondpass ingest"
FAISS, FAISS_CROSS = "ONNX int8 + FAISS", "ONNX int8 + FAISS + cross-encoder int8"
BARE, BARE_INT8 = "ONNX Runtime fp32", "ONNX Runtime int8"
FASTEMBED, STOCK = "fastembed int8", "sentence-transformers fp32"
INFINITY, INFINITY_RERANK = "infinity /embeddings", "infinity /rerank"

_SERVED = {"hub_offline": True, "timeout_ms": 600_000, "log_level": "warning"}

VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {},
    OURS_CROSS: {
        "reranker": "minilm-l6-v0",
        "rerank_backend": "auto",
        "rerank_depth": DEPTH,
        "rerank_weight": 1.0,  # the order is the cross-encoder's alone, as the others' is
        "max_reranks": 64,  # sixteen clients are let in
    },
}
"""Name -> settings of this service, besides its defaults."""


def settings_of(variant: str, data_dir: Path) -> dict[str, Any]:
    """All settings of a variant that are not defaults, as JSON has them."""
    return {**_SERVED, **VARIANTS[variant], "data_dir": str(data_dir)}


@dataclass(frozen=True, slots=True)
class Answered:
    """Passage ids, best first; what the caller waited, and the search by the server's own clock."""

    ids: tuple[str, ...]
    total_ms: float
    inside_ms: float | None = None


class Caller(ABC):
    """What asks queries, one after another. Of one client."""

    @abstractmethod
    def ask(self, query: str) -> Answered:
        """Raises `BenchError`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


@dataclass
class System:
    """A process and the turns it takes. `does` says how much of a search it does."""

    name: str
    does: str
    command: Sequence[str]
    log: Path
    turns: tuple[Kind, ...]
    port: int | None = None
    caller_at: Callable[[int], Caller] | None = None
    process: Process | None = None
    start_seconds: float | None = None

    def start(self) -> None:
        """Start it and wait for its first answer. Raises `BenchError`."""
        self.process = Process(self.command, self.log, pipes=self.port is None)
        if self.port is None:
            self.caller().ask("How is it done?")
            self.start_seconds = self.process.wait_until(lambda: True)
        else:
            self.start_seconds = self.process.wait_until(self._answers)

    def caller(self) -> Caller:
        """One that asks this process."""
        if self.process is None:
            raise BenchError("not started")
        if self.port is None or self.caller_at is None:
            return _Lines(self.process)
        return self.caller_at(self.port)

    def encode(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> float:
        """Milliseconds, of a process without a port."""
        if self.process is None:
            raise BenchError("not started")
        answer = self.process.ask({"texts": texts, "kind": kind})
        return float(answer["milliseconds"])

    def stop(self) -> None:
        """Stop it, if it was started."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _answers(self) -> bool:
        caller = self.caller()
        try:
            caller.ask("How is it done?")
        except (OSError, HTTPException, BenchError):
            return False
        finally:
            caller.close()
        return True


class _Lines(Caller):
    def __init__(self, process: Process) -> None:
        self._process = process

    def ask(self, query: str) -> Answered:
        answer = self._process.ask({"texts": [query], "kind": "query"})
        return Answered((), answer["milliseconds"])

    def close(self) -> None:
        """Nothing: the process is the system's."""


class _Posts(Caller):
    """Posts to one path over a connection that stays open."""

    path = "/search"

    def __init__(self, port: int) -> None:
        self._connection = Connection(port)

    def ask(self, query: str) -> Answered:
        answer, milliseconds = self._connection.post(self.path, self._body(query))
        ids = tuple(hit["id"] for hit in answer.get("hits", ()))
        return Answered(ids, milliseconds, answer.get("timings_ms", {}).get("total"))

    def close(self) -> None:
        self._connection.close()

    def _body(self, query: str) -> Mapping[str, Any]:
        return {"query": query, "top_k": TOP_K}


class _Embeddings(_Posts):
    path = "/embeddings"

    def _body(self, query: str) -> Mapping[str, Any]:
        return {"model": "model", "input": [f"query: {query}"]}


class _Rerank(_Posts):
    """Gives the passages with each query: any do, as the time does not depend on their words."""

    path = "/rerank"

    def __init__(self, port: int, passages: Sequence[str]) -> None:
        super().__init__(port)
        self._passages = passages

    def _body(self, query: str) -> Mapping[str, Any]:
        first = hash(query) % (len(self._passages) - DEPTH)
        given = self._passages[first : first + DEPTH]
        return {"model": "model", "query": query, "documents": given, "top_n": TOP_K}


def secondpass(variant: str, data_dir: Path, logs: Path) -> System:
    """This service."""
    port = free_port()
    settings = settings_of(variant, data_dir)
    flags = [part for key, value in settings.items() for part in _flag(key, value)]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), *flags]
    log = logs / f"{variant.replace(', ', '-')}.log"
    return System(variant, "searches and reranks", command, log, SERVED, port, _Posts)


def _flag(key: str, value: object) -> list[str]:
    flag = f"--{key.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


def onnx_search(encoder: Path, folder: Path, logs: Path, reranker: Path | None = None) -> System:
    """ONNX Runtime and FAISS behind FastAPI."""
    port = free_port()
    name, does = (FAISS_CROSS, "searches and reranks") if reranker else (FAISS, "searches")
    module = [sys.executable, "-m", "benchmarks.speed.workers.onnx_search", "http"]
    given = [str(encoder), str(folder), str(port), *([str(reranker)] if reranker else [])]
    log = logs / f"onnx-search-{'cross' if reranker else 'alone'}.log"
    return System(name, does, [*module, *given], log, SERVED, port, _Posts)


def vectors(
    name: str, package: str, place: str, turns: tuple[Kind, ...], logs: Path,
    python: Path = Path(sys.executable),
) -> System:  # fmt: skip
    """What turns texts into vectors, in a process of its own without HTTP."""
    module = [str(python), "-m", "benchmarks.speed.workers.vectors", package]
    does = "ingests" if package == "secondpass" else "encodes"
    log = logs / f"{name.replace(' ', '-')}.log"
    return System(name, does, [*module, *([place] if place else [])], log, turns)


def infinity(python: Path, model: Path, logs: Path, passages: Sequence[str] | None) -> System:
    """`infinity-emb` with its torch engine; with `passages` its reranker."""
    port = free_port()
    command = [
        *(str(python.parent / "infinity_emb"), "v2", "--model-id", str(model)),
        *("--served-model-name", "model", "--engine", "torch", "--device", "cpu"),
        *("--dtype", "float32", "--no-bettertransformer"),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
    ]
    if passages is None:
        log = logs / "infinity-embeddings.log"
        return System(INFINITY, "encodes", command, log, SERVED, port, _Embeddings)
    log = logs / "infinity-rerank.log"
    does = f"reranks {DEPTH} given passages"
    return System(
        INFINITY_RERANK, does, command, log, SERVED, port, lambda at: _Rerank(at, passages)
    )
