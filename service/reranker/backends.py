"""Which backend runs a cross-encoder here: what was measured when the model was prepared."""

import logging
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.stats import kendalltau

from service.durable import write_text
from service.protocols import Reranker
from service.reranker.probe_texts import PROBES
from service.types import Backend

BACKENDS: tuple[Backend, ...] = get_args(Backend)
REFERENCE: Backend = "torch"

LEAST_TAU = 0.97
"""Kendall's tau with the fp32 order of a query's passages, the mean over the queries."""
MOST_DIFFERENCE = 0.05
"""Of a logit, as a share of the range of the fp32 logits."""

_ROUNDS = 3
"""Each backend is timed so often, in turn."""

_log = logging.getLogger(__name__)


class Measured(BaseModel):
    """A backend on the built-in pairs, against `torch` in fp32.

    `milliseconds` is the time of one pair in the fastest round. `max_difference` is a share of the
    range of the fp32 logits. `close` says whether both limits are kept.
    """

    model_config = ConfigDict(frozen=True)

    milliseconds: float
    kendall_tau: float
    max_difference: float
    close: bool


class BackendRecord(BaseModel):
    """What was measured for one model on one CPU, and the fastest backend that is close enough."""

    model_config = ConfigDict(frozen=True)

    model: str
    weights_sha256: str
    cpu: str
    threads: int
    versions: dict[str, str]
    pairs: int
    least_tau: float
    most_difference: float
    measured: dict[Backend, Measured]
    chosen: Backend


def measure(
    rerankers: Mapping[Backend, Reranker], probes: Sequence[tuple[str, Sequence[str]]] = PROBES
) -> BackendRecord:
    """Score the built-in pairs with each reranker, in turn, and choose; `torch` is among them."""
    runs: dict[Backend, list[list[float]]] = {}
    times: dict[Backend, list[float]] = {backend: [] for backend in rerankers}
    for backend, reranker in rerankers.items():  # a first pass warms up and is not timed
        runs[backend] = [_logits(reranker, query, passages) for query, passages in probes]
    pairs = sum(len(passages) for _query, passages in probes)
    for _ in range(_ROUNDS):
        for backend, reranker in rerankers.items():
            began = perf_counter()
            for query, passages in probes:
                _logits(reranker, query, passages)
            times[backend].append(1000 * (perf_counter() - began) / pairs)
    measured = {
        backend: _compared(runs[backend], runs[REFERENCE], min(times[backend]))
        for backend in rerankers
    }
    fit = [backend for backend in rerankers if measured[backend].close]
    reference = rerankers[REFERENCE]
    return BackendRecord(
        model=reference.model,
        weights_sha256=reference.weights_sha256,
        cpu=this_cpu(),
        threads=torch.get_num_threads(),
        versions=_versions(),
        pairs=pairs,
        least_tau=LEAST_TAU,
        most_difference=MOST_DIFFERENCE,
        measured=measured,
        chosen=min(fit, key=lambda backend: measured[backend].milliseconds),
    )


def recorded_backend(cache_dir: Path, weights_sha256: str, threads: int = 0) -> Backend:
    """The choice recorded for these weights; `torch` where there is none that holds here.

    It holds on the CPU, with the threads (0: the number torch uses now) and with the versions that
    it was measured with; the log says which of them are others.
    """
    try:
        text = record_file(cache_dir, weights_sha256).read_text(encoding="utf-8")
        record = BackendRecord.model_validate_json(text)
    except (OSError, ValidationError):
        return REFERENCE
    if record.weights_sha256 != weights_sha256:
        return REFERENCE
    here = {"cpu": this_cpu(), "threads": threads or torch.get_num_threads(), **_versions()}
    then = {"cpu": record.cpu, "threads": record.threads, **record.versions}
    others = [
        f"{name} {then.get(name, 'none')} then, {here.get(name, 'none')} now"
        for name in {**then, **here}
        if then.get(name) != here.get(name)
    ]
    if others:
        _log.warning(
            "the backends of %s were measured with something else (%s), so torch runs it; measure "
            "them again: secondpass models prepare %s",
            record.model,
            "; ".join(others),
            record.model,
        )
        return REFERENCE
    return record.chosen


def write_record(cache_dir: Path, record: BackendRecord) -> Path:
    """Keep a record for later starts; gives its file. Raises `StoreError` where it cannot."""
    file = record_file(cache_dir, record.weights_sha256)
    write_text(file, record.model_dump_json(indent=2))
    return file


def record_file(cache_dir: Path, weights_sha256: str) -> Path:
    """Where the record for these weights lies."""
    return cache_dir / "models" / f"backends-{weights_sha256[:16]}.json"


def this_cpu() -> str:
    """The CPU's name and the widest instructions that torch uses on it."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = named[0] if named else name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _logits(reranker: Reranker, query: str, passages: Sequence[str]) -> list[float]:
    return [score.logit for score in reranker.score_pairs([(query, text) for text in passages])]


def _compared(
    logits: Sequence[Sequence[float]], exact: Sequence[Sequence[float]], milliseconds: float
) -> Measured:
    taus = [_tau(ours, theirs) for ours, theirs in zip(logits, exact, strict=True)]
    ours, theirs = ([value for row in rows for value in row] for rows in (logits, exact))
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    share = worst / max(max(theirs) - min(theirs), 1e-9)
    tau = fmean(taus)
    return Measured(
        milliseconds=round(milliseconds, 2),
        kendall_tau=round(tau, 4),
        max_difference=round(share, 6),
        close=tau >= LEAST_TAU and share <= MOST_DIFFERENCE,
    )


def _tau(ours: Sequence[float], theirs: Sequence[float]) -> float:
    # Of scores that are all equal scipy says nothing.
    return 1.0 if list(ours) == list(theirs) else float(kendalltau(ours, theirs).statistic)


def _versions() -> dict[str, str]:
    found = {}
    for package in ("torch", "onnxruntime"):
        with suppress(ImportError):
            found[package] = version(package)
    return found
