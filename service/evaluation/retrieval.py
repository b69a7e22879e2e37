"""`evaluate retrieval` and `evaluate rerank`: systems and run files over labelled collections."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from service.evaluation.candidates import Candidates, Observer
from service.evaluation.comparison import Compared, compared_report, mean_report, measure
from service.evaluation.each import measure_each
from service.evaluation.labelled import Draw, Labelled, read_labelled
from service.evaluation.provenance import provenance
from service.evaluation.report import ask_all, collection_report, scored_run
from service.evaluation.searching import models_of, opened, searching
from service.evaluation.systems import RunFile, System
from service.evaluation.trec_runs import ScoredRun
from service.settings import DECIDING, Settings
from service.types import MAX_TEXT_CHARS

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""(title, total) -> a bar; yields what sets the count that is done."""

_Opened = TypeVar("_Opened")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report, for JSON, and what it was made from.

    `failed`: why some collections could not be measured, by name. The report is of the others.
    """

    report: dict[str, Any]
    collections: list[Compared]
    failed: Mapping[str, str]


def evaluate_systems(
    paths: Sequence[Path],
    systems: Sequence[System],
    runs: Sequence[RunFile],
    draw: Draw,
    progress: Progress,
) -> Evaluation:
    """Measure systems, and rankings in run files, on the same queries of each collection.

    One system alone is shown by its two stages, `retrieval` and `reranked`. Of several, each is
    shown by its final order under its name. The first ranking is what the others are compared to.
    """
    collections = read_labelled(paths, draw, _most_chars(systems))
    read = {
        c.name: {run.name: run.read(c.name, list(c.queries)) for run in runs} for c in collections
    }
    described: dict[str, Any] = {}

    def measured(labelled: Labelled) -> Compared:
        rankings: dict[str, ScoredRun] = {}
        reports: dict[str, Any] = {}
        for system in systems:
            with _ready(searching, system.settings, labelled.path, draw, progress) as ask:
                described[system.name] = describe(system, models_of(ask.searcher))
                title = labelled.name if len(systems) == 1 else f"{labelled.name} {system.name}"
                with progress(title, len(labelled.queries)) as advance:
                    answers = ask_all(labelled.queries, ask, advance)
                thresholds = ask.searcher.second_stage.judge.thresholds
            reports[system.name] = collection_report(answers, labelled.qrels, thresholds, draw.seed)
            if len(systems) + len(runs) == 1:
                rankings["retrieval"] = scored_run(answers.retrieval)
                rankings["reranked"] = scored_run(answers.reranked)
            else:
                rankings[system.name] = scored_run(answers.reranked)
        details = next(iter(reports.values())) if len(reports) == 1 else {"systems": reports}
        return _compared(labelled, {**rankings, **read[labelled.name]}, details)

    compared, failed = measure_each({c.name: c for c in collections}, measured)
    described |= {run.name: {"run": run.path.name} for run in runs}
    return _evaluation("Retrieval", list(compared.values()), failed, draw, described)


def evaluate_reranker(
    paths: Sequence[Path],
    system: System,
    weights: Sequence[float],
    depth: int,
    draw: Draw,
    progress: Progress,
) -> Evaluation:
    """Rerank the first `depth` candidates of stage one: `retrieval`, `pure` and `fused W` orders.

    Every query is reranked, whatever its language, except one that fills the reranker's window.
    """
    described: dict[str, Any] = {}

    def measured(labelled: Labelled) -> Compared:
        found: dict[str, Candidates] = {}
        with (
            _ready(opened, system.settings, labelled.path, draw, progress) as (engine, logits),
            progress(labelled.name, len(labelled.queries)) as advance,
        ):
            described[system.name] = describe(system, models_of(engine.searcher))
            observer, began = Observer(engine, depth), time.perf_counter()
            for number, (query, text) in enumerate(labelled.queries.items(), 1):
                found[query] = observer.search(text, frozenset()).answered
                advance(number)
            seconds = time.perf_counter() - began
        details = {
            "depth": depth,
            "pairs": sum(len(of.logits) for of in found.values()),
            "pairs_reused": logits.reused if logits else 0,
            "not_reranked": sum(not len(of.logits) for of in found.values()),
            "seconds": round(seconds, 1),
        }
        return _compared(labelled, rerank_runs(found, weights, depth), details)

    collections = read_labelled(paths, draw, _most_chars([system]))
    compared, failed = measure_each({c.name: c for c in collections}, measured)
    return _evaluation("Rerank", list(compared.values()), failed, draw, described)


def rerank_runs(
    candidates: Mapping[str, Candidates], weights: Sequence[float], depth: int
) -> dict[str, ScoredRun]:
    """Rankings by name: `retrieval`, `pure` (by logit) and `fused W` for each share in `weights`.

    The first `depth` passages are reordered, those below follow in stage one's order. A share W is
    as for `confidence.judge.rank`; 1 is the reranker alone.
    """
    shares = {"retrieval": 0.0, "pure": 1.0, **{f"fused {weight:g}": weight for weight in weights}}
    runs: dict[str, ScoredRun] = {}
    for name, share in shares.items():
        ordered = {query: found.ranked(share, depth) for query, found in candidates.items()}
        runs[name] = {
            query: [
                (candidates[query].documents[place], score)
                for place, score in zip(of.places, of.scores.tolist(), strict=True)
            ]
            for query, of in ordered.items()
        }
    return runs


def _most_chars(systems: Sequence[System]) -> int:
    """Characters of a text that every system takes."""
    return min((system.settings.max_document_chars for system in systems), default=MAX_TEXT_CHARS)


def describe(system: System, models: Mapping[str, Any]) -> dict[str, Any]:
    """A system's settings that decide its answers, and its models with their hashes."""
    settings = system.settings.model_dump(mode="json", include=set(DECIDING))
    return {"settings": settings, "models": models}


@contextmanager
def _ready(
    opener: Callable[..., AbstractContextManager[_Opened]],
    settings: Settings,
    path: Path,
    draw: Draw,
    progress: Progress,
) -> Iterator[_Opened]:
    """What `opener` yields, after an ingest that has a bar of its own."""
    with ExitStack() as stack:
        with progress(f"ingest {path.name}", None) as read:
            found = stack.enter_context(
                opener(settings, path, chunked=draw.chunked, on_progress=read)
            )
        yield found


def _compared(
    labelled: Labelled, runs: Mapping[str, ScoredRun], details: Mapping[str, Any]
) -> Compared:
    values = measure(runs, labelled.qrels)
    details = {**details, "warnings": list(labelled.warnings)}
    return Compared(labelled.name, labelled.path, labelled.data_sha256, runs, values, details)


def _evaluation(
    title: str,
    compared: list[Compared],
    failed: Mapping[str, str],
    draw: Draw,
    described: Mapping[str, Any],
) -> Evaluation:
    drawn = {"queries": draw.queries, "chunk": draw.chunked}
    alone = next(iter(described.values())) if len(described) == 1 else {}
    report = {
        "title": title,
        **provenance(draw.seed),
        "settings": {**alone.get("settings", {}), **drawn},
        "systems": described,
        "collections": {c.name: compared_report(c, draw.seed) for c in compared},
        "mean": mean_report(compared, draw.seed) if len(compared) > 1 else None,
        "failed": dict(failed),
    }
    return Evaluation(report, compared, failed)
