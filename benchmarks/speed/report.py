"""The result: every figure, the comparisons, and the bars that they have to pass."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.docs import fill
from benchmarks.speed import figures
from benchmarks.speed.bars import compared, held
from benchmarks.speed.corpus import SEED, described
from benchmarks.speed.machine import machine
from benchmarks.speed.matrix import bfloat16_gflops
from benchmarks.speed.picture import draw
from benchmarks.speed.preparation import Prepared
from benchmarks.speed.rounds import Measured, Plan
from benchmarks.speed.systems import OURS, OURS_INGEST, VARIANTS
from service.evaluation.provenance import provenance

Found = dict[str, Any]


def report(
    plan: Plan, there: Prepared, measured: Measured, arguments: Sequence[str], seconds: float
) -> Found:
    """All that is written, as JSON has it."""
    quality = figures.quality(there.corpus.qrels, measured.found)
    found: Found = {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.speed", *_shown(arguments)]),
        "seconds": round(seconds),
        "machine": machine(),
        "packages": there.packages,
        "corpus": described(there.corpus, there.count_tokens),
        "plan": {name: getattr(plan, name) for name in plan.__slots__},
        "query_tokens": round(statistics.mean(there.count_tokens(there.load)), 1),
        "settings": VARIANTS,
        "backends": there.backends,
        "systems": {
            system.name: {
                "does": system.does,
                "start_seconds": measured.start_seconds[system.name],
                "peak_memory_mb": measured.peak_mb.get(system.name),
                **quality.get(system.name, {}),
                **figures.of_system(measured.turns, system.name),
            }
            for system in there.systems
            if system.name in measured.start_seconds
        },
        "bfloat16_gflops": round(bfloat16_gflops()),
        "http_ms": figures.http_ms(measured.turns, OURS),
        "ndcg_lead": _lead({name: of["ndcg@10"] for name, of in quality.items()}),
        "comparisons": compared(measured.turns),
        "not_measured": there.not_measured,
    }
    found["matrix_share"] = _matrix_share(found, there.passage_gflop)
    found["bars"] = held(found)
    return found


def _matrix_share(found: Found, passage_gflop: float) -> float | None:
    """Of the bfloat16 rate, while ingesting."""
    ingest = found["systems"].get(OURS_INGEST, {}).get("passages")
    if ingest is None:
        return None
    return round(float(ingest["per_second"] * passage_gflop / found["bfloat16_gflops"]), 3)


def _lead(ndcg: dict[str, float]) -> float | None:
    """Of the default settings over the best other system."""
    others = [value for name, value in ndcg.items() if name not in VARIANTS]
    return round(ndcg[OURS] - max(others), 4) if others and OURS in ndcg else None


def write(found: Found, out: Path, *, whole: bool) -> None:
    """The JSON; of a whole run the picture and the tables of the documentation too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if whole:
        draw(found)
        fill()


def _shown(arguments: Sequence[str]) -> list[str]:
    """Arguments without this machine's folders."""
    return [Path(part).name if "/" in part else part for part in arguments]
