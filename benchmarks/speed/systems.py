"""The systems that are compared, each a process of its own with the same verbs."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from benchmarks.speed.http import Connection
from benchmarks.speed.processes import BenchError, Process, free_port
from service.settings import Settings

TOP_K = 10

_SERVED = {
    "hub_offline": True,
    "timeout_ms": 600_000,
    "log_level": "warning",
}
_CROSS_ENCODER = {
    "reranker": "minilm-l6-v0",
    "rerank_weight": 1.0,
    "max_reranks": 64,  # sixteen clients are let in; nobody is turned away
}
"""Its order is the cross-encoder's alone, as the others' is."""

VARIANTS: dict[str, dict[str, Any]] = {
    "exact": {**_CROSS_ENCODER, "rerank_backend": "torch"},
    "fast": {**_CROSS_ENCODER, "rerank_backend": "auto", "rerank_depth": 20},
    "interaction": {"reranker": "interaction-v1"},
}
"""Name -> settings of this service, besides its defaults. Settings it lacks are left out."""


def settings_of(variant: str, data_dir: Path) -> dict[str, Any]:
    """All settings of a variant that are not defaults, as JSON has them."""
    own = {k: v for k, v in VARIANTS[variant].items() if k in Settings.model_fields}
    return {**_SERVED, **own, "data_dir": str(data_dir)}


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the candidates that stage one finds for it: (id, text)."""

    id: str
    query: str
    candidates: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answered:
    """Passage ids, best first, and milliseconds; None where a system does not say.

    `total_ms` is what the caller waited; `inside_ms` the search by the system's own clock;
    `rerank_ms` the scoring of the candidates. `complete` is False where not all were reranked
    that were to be.
    """

    ids: tuple[str, ...]
    total_ms: float
    rerank_ms: float | None = None
    inside_ms: float | None = None
    complete: bool = True


class Caller(ABC):
    """What asks questions, one after another. Of one client."""

    @abstractmethod
    def ask(self, question: Question) -> Answered:
        """Raises `BenchError`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


@dataclass
class System:
    """A system: `pipeline` names what computes, `way` how it is reached.

    `ways`: `in process`, where a clock around the call measures, or `HTTP`.
    """

    pipeline: str
    way: str
    command: Sequence[str]
    log: Path
    port: int | None = None
    path: str = "/search"
    brings_candidates: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    process: Process | None = None
    start_seconds: float | None = None

    @property
    def name(self) -> str:
        """Of the pipeline and the way."""
        return f"{self.pipeline}, {self.way}"

    def start(self, question: Question) -> None:
        """Start it and wait for its first answer. Raises `BenchError`."""
        pipes = self.port is None
        self.process = Process(self.command, self.log, pipes=pipes, **self.variables)
        if pipes:
            self.caller().ask(question)
            self.start_seconds = self.process.wait_until(lambda: True)
        else:
            self.start_seconds = self.process.wait_until(lambda: self._answers(question))

    def caller(self) -> Caller:
        """One that asks this process."""
        if self.process is None:
            raise BenchError("not started")
        if self.port is None:
            return _Lines(self.process, brings_candidates=self.brings_candidates)
        return _Infinity(self.port) if self.path == "/rerank" else _Search(self.port)

    def peak_mb(self) -> float | None:
        """Most memory so far."""
        return self.process.peak_mb() if self.process else None

    def stop(self) -> None:
        """Stop it, if it was started."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _answers(self, question: Question) -> bool:
        caller = self.caller()
        try:
            caller.ask(question)
        except (OSError, HTTPException, BenchError):
            return False
        finally:
            caller.close()
        return True


class _Lines(Caller):
    def __init__(self, process: Process, *, brings_candidates: bool) -> None:
        self._process, self._brings_candidates = process, brings_candidates

    def ask(self, question: Question) -> Answered:
        asked: dict[str, Any] = {"query": question.query, "top_k": TOP_K}
        if self._brings_candidates:
            asked["candidates"] = question.candidates
        else:
            asked["num_candidates"] = len(question.candidates)
        answer = self._process.ask(asked)
        inside = answer["timings_ms"].get("total")
        return _answered(answer, inside or answer["timings_ms"]["rerank"])

    def close(self) -> None:
        """Nothing: the process is the system's."""


class _Search(Caller):
    def __init__(self, port: int) -> None:
        self._connection = Connection(port)

    def ask(self, question: Question) -> Answered:
        body = {
            "query": question.query,
            "top_k": TOP_K,
            "num_candidates": len(question.candidates),
        }
        return _answered(*self._connection.post("/search", body))

    def close(self) -> None:
        self._connection.close()


class _Infinity(Caller):
    def __init__(self, port: int) -> None:
        self._connection = Connection(port)

    def ask(self, question: Question) -> Answered:
        body = {
            "model": "reranker",
            "query": question.query,
            "documents": [text for _, text in question.candidates],
            "top_n": TOP_K,
        }
        answer, milliseconds = self._connection.post("/rerank", body)
        ids = [question.candidates[row["index"]][0] for row in answer["results"]]
        return Answered(tuple(ids[:TOP_K]), milliseconds, milliseconds)

    def close(self) -> None:
        self._connection.close()


def _answered(answer: Mapping[str, Any], milliseconds: float) -> Answered:
    timings = answer["timings_ms"]
    report = answer.get("rerank", {"status": "complete"})
    return Answered(
        tuple(hit["id"] for hit in answer["hits"]),
        milliseconds,
        timings["rerank"],
        timings.get("total"),
        report["status"] == "complete",
    )


def stock(way: str, encoder: Path, reranker: Path, folder: Path, logs: Path) -> System:
    """sentence-transformers and FAISS."""
    port = free_port() if way == "HTTP" else None
    how = ["lines"] if port is None else ["http"]
    module = [sys.executable, "-m", "benchmarks.speed.workers.stock"]
    arguments = [str(encoder), str(reranker), str(folder), *([str(port)] if port else [])]
    log = logs / f"stock-{how[0]}.log"
    return System("sentence-transformers", way, [*module, *how, *arguments], log, port)


def infinity(python: Path, reranker: Path, logs: Path) -> System:
    """`infinity-emb` with its torch engine; its optional optimum parts are left out."""
    port = free_port()
    command = [
        *(str(python.parent / "infinity_emb"), "v2", "--model-id", str(reranker)),
        *("--served-model-name", "reranker", "--engine", "torch", "--device", "cpu"),
        *("--dtype", "float32", "--no-bettertransformer"),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
    ]
    return System("infinity", "HTTP", command, logs / "infinity.log", port, "/rerank")


def flashrank(python: Path, folder: Path, logs: Path) -> System:
    """FlashRank on the exported weights."""
    command = [str(python), "-m", "benchmarks.speed.workers.flashrank_lines", str(folder)]
    log = logs / "flashrank.log"
    return System("flashrank", "in process", command, log, brings_candidates=True)


def secondpass(variant: str, way: str, data_dir: Path, logs: Path) -> System:
    """This service."""
    settings = settings_of(variant, data_dir)
    name, log = f"secondpass {variant}", logs / f"secondpass-{variant}-{way.replace(' ', '-')}.log"
    if way != "HTTP":
        module = "benchmarks.speed.workers.secondpass_lines"
        return System(name, way, [sys.executable, "-m", module, json.dumps(settings)], log)
    port = free_port()
    flags = [part for key, value in settings.items() for part in _flag(key, value)]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), *flags]
    return System(name, way, command, log, port)


def _flag(key: str, value: object) -> list[str]:
    flag = f"--{key.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]
