"""The result: every figure, the ratios, and the bars that they have to pass."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.docs import fill
from benchmarks.speed import figures
from benchmarks.speed.bars import held
from benchmarks.speed.corpus import SEED, described
from benchmarks.speed.figures import outside_ms, rerank_ms, total_ms
from benchmarks.speed.machine import machine
from benchmarks.speed.measure import Timed
from benchmarks.speed.picture import draw
from benchmarks.speed.preparation import Prepared
from benchmarks.speed.run import CLIENTS, STOCK, Measured, Plan
from benchmarks.speed.systems import VARIANTS
from service.evaluation.provenance import provenance
from service.settings import Settings

STOCK_HTTP = "sentence-transformers, HTTP"
INFINITY = "infinity, HTTP"
FLASHRANK = "flashrank, in process"
DEFAULT = "interaction"
"""The variant that a server without settings is."""

Found = dict[str, Any]


def report(
    plan: Plan, there: Prepared, measured: Measured, arguments: Sequence[str], seconds: float
) -> Found:
    """All that is written, as JSON has it."""
    loads = figures.throughput(measured.loads)
    quality = _quality(there, measured)
    ratios = ratios_of(measured, loads)
    overhead = {
        variant: figures.spread(measured.timed, f"secondpass {variant}, HTTP", outside_ms)
        for variant in VARIANTS
    }
    found: Found = {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.speed", *_shown(arguments)]),
        "seconds": round(seconds),
        "machine": machine(),
        "packages": there.packages,
        "corpus": described(there.corpus, there.count_tokens),
        "plan": {name: getattr(plan, name) for name in plan.__slots__},
        "tokens_reranked": _tokens(plan, there),
        "settings": {
            name: {k: v for k, v in own.items() if k in Settings.model_fields}
            for name, own in VARIANTS.items()
        },
        "auto_backend": there.auto_backend,
        "systems": {system: _system(system, measured, loads) for system in measured.start_seconds},
        "http_overhead_ms": overhead,
        "quality": quality,
        "ratios": ratios,
        "not_measured": there.not_measured,
    }
    found["bars"] = held(found)
    return found


def ratios_of(measured: Measured, loads: dict[str, dict[int, dict[str, float]]]) -> Found:
    """Each is how many times faster this service is than the other system; None: not measured.

    `rerank_X`: the scoring of the candidates, in process against in process. `search_X`: what a
    client waits, HTTP against HTTP. `throughput_N_X`: answers a second at N clients. Without a
    name behind them they are against sentence-transformers with FAISS. Infinity answers a rerank
    of given candidates where this service answers a whole search.
    """
    timed, found = measured.timed, {}
    for variant in VARIANTS:
        inside, served = (f"secondpass {variant}, {way}" for way in ("in process", "HTTP"))
        found[f"rerank_{variant}"] = figures.ratio(timed, STOCK, inside, rerank_ms)
        found[f"search_{variant}"] = figures.ratio(timed, STOCK_HTTP, served, total_ms)
        found[f"rerank_{variant}_over_flashrank"] = figures.ratio(
            timed, FLASHRANK, inside, rerank_ms
        )
        found[f"search_{variant}_over_infinity"] = figures.ratio(timed, INFINITY, served, total_ms)
        for clients in CLIENTS:
            for other, suffix in ((STOCK_HTTP, ""), (INFINITY, "_over_infinity")):
                found[f"throughput_{clients}_{variant}{suffix}"] = _more(
                    loads, served, other, clients
                )
    for clients in CLIENTS:
        found[f"throughput_{clients}"] = found[f"throughput_{clients}_{DEFAULT}"]
    return dict(sorted(found.items()))


def _more(
    loads: dict[str, dict[int, dict[str, float]]], ours: str, other: str, clients: int
) -> float | None:
    if ours not in loads or other not in loads:
        return None
    rates = [loads[system][clients]["per_second"] for system in (ours, other)]
    return round(rates[0] / rates[1], 3)


def write(found: Found, out: Path, *, whole: bool) -> None:
    """The JSON; of a whole run the picture and the tables of the documentation too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if whole:
        draw(found)
        fill()


def _system(
    system: str, measured: Measured, loads: dict[str, dict[int, dict[str, float]]]
) -> Found:
    return {
        "start_seconds": measured.start_seconds[system],
        "total_ms": figures.spread(measured.timed, system, total_ms),
        "rerank_ms": figures.spread(measured.timed, system, rerank_ms),
        "load": {str(clients): of for clients, of in loads.get(system, {}).items()},
        "peak_memory_mb": measured.peak_mb.get(system, {}),
    }


def _quality(there: Prepared, measured: Measured) -> Found:
    answers: dict[str, list[Timed]] = defaultdict(list)
    every = [*measured.timed, *(timed for load in measured.loads for timed in load.answered)]
    for timed in every:
        answers[timed.system.partition(",")[0]].append(timed)
    return figures.quality(there.corpus.qrels, answers, STOCK.partition(",")[0])


def _tokens(plan: Plan, there: Prepared) -> dict[str, float]:
    """Of the reranker's tokenizer, in a query and a passage on average, and in all of a search."""
    passages = statistics.mean(there.count_tokens(list(there.corpus.passages.values())))
    queries = statistics.mean(there.count_tokens(list(there.corpus.queries.values())))
    pair = passages + queries + 3  # [CLS] query [SEP] passage [SEP]
    return {"pair": round(pair, 1), "search": round(plan.candidates * pair)}


def _shown(arguments: Sequence[str]) -> list[str]:
    """Arguments without this machine's folders."""
    return [Path(part).name if "/" in part else part for part in arguments]
