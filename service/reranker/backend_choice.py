"""Which backend runs a cross-encoder here: what was measured when the model was prepared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import get_args

from pydantic import BaseModel, ConfigDict
from scipy.stats import kendalltau

from service.backend_record import Record, machine
from service.probe_texts import PROBES
from service.protocols import Reranker
from service.types import Backend

BACKENDS: tuple[Backend, ...] = get_args(Backend)
REFERENCE: Backend = "torch"

LEAST_TAU = 0.97
"""Kendall's tau with the fp32 order of a query's passages, the mean over the queries."""
MOST_DIFFERENCE = 0.05
"""Of a logit, as a share of the range of the fp32 logits."""

_ROUNDS = 3
"""Each backend is timed so often, in turn."""


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


class BackendRecord(Record):
    """What was measured for one cross-encoder, and the fastest backend that is close enough."""

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
        **machine(),
        pairs=pairs,
        least_tau=LEAST_TAU,
        most_difference=MOST_DIFFERENCE,
        measured=measured,
        chosen=min(fit, key=lambda backend: measured[backend].milliseconds),
    )


def recorded_backend(cache_dir: Path, weights_sha256: str, threads: int = 0) -> Backend:
    """The choice recorded for these weights; `torch` where no record holds here."""
    record = BackendRecord.read(cache_dir, weights_sha256, threads)
    return record.chosen if record else REFERENCE


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
