"""`evaluate retrieval` and `evaluate rerank`: systems and run files over labelled collections."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from service.collection import Collection, data_sha256, open_collection
from service.evaluation.candidates import Candidates, Observer
from service.evaluation.comparison import Compared, compared_report, mean_report, measure
from service.evaluation.metrics import Qrels
from service.evaluation.provenance import provenance
from service.evaluation.report import collection_report
from service.evaluation.rerank import rerank_runs
from service.evaluation.run import ask_all, sample, scored_run
from service.evaluation.searching import models_of, opened, searching
from service.evaluation.systems import VARIED, RunFile, System, collection_names
from service.evaluation.trec import ScoredRun
from service.settings import Settings

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""(title, total) -> a bar; yields what sets the count that is done."""

_Opened = TypeVar("_Opened")


@dataclass(frozen=True, slots=True)
class Draw:
    """Which queries are asked: so many of a collection (None for all), and how they are found."""

    queries: int | None = None
    seed: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report, for JSON, and what it was made from."""

    report: dict[str, Any]
    collections: list[Compared]


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
    compared: list[Compared] = []
    described: dict[str, Any] = {}
    for name, path in zip(collection_names(paths), paths, strict=True):
        labelled = open_collection(path)
        chosen = sample(labelled.qrels, draw.queries, draw.seed)
        asked = {query: labelled.queries[query] for query in chosen}
        rankings: dict[str, ScoredRun] = {}
        reports: dict[str, Any] = {}
        for system in systems:
            with _ready(searching, system.settings, path, draw, progress) as ask:
                described[system.name] = describe(system, ask.models())
                title = name if len(systems) == 1 else f"{name} {system.name}"
                with progress(title, len(asked)) as advance:
                    answers = ask_all(asked, ask, advance)
                thresholds = ask.thresholds
            reports[system.name] = collection_report(answers, labelled.qrels, thresholds, draw.seed)
            if len(systems) + len(runs) == 1:
                rankings["retrieval"] = scored_run(answers.retrieval)
                rankings["reranked"] = scored_run(answers.reranked)
            else:
                rankings[system.name] = scored_run(answers.reranked)
        rankings |= {run.name: run.read(name, chosen) for run in runs}
        details = next(iter(reports.values())) if len(reports) == 1 else {"systems": reports}
        compared.append(_compared(name, path, rankings, labelled, chosen, details))
    described |= {run.name: {"run": run.path.name} for run in runs}
    return _evaluation("Retrieval", compared, draw, described)


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
    compared: list[Compared] = []
    described: dict[str, Any] = {}
    for name, path in zip(collection_names(paths), paths, strict=True):
        labelled = open_collection(path)
        chosen = sample(labelled.qrels, draw.queries, draw.seed)
        found: dict[str, Candidates] = {}
        with (
            _ready(opened, system.settings, path, draw, progress) as (engine, logits),
            progress(name, len(chosen)) as advance,
        ):
            described[system.name] = describe(system, models_of(engine.searcher))
            observer, began = Observer(engine, depth), time.perf_counter()
            for number, query in enumerate(chosen, 1):
                found[query] = observer.search(labelled.queries[query], frozenset()).answered
                advance(number)
            seconds = time.perf_counter() - began
        details = {
            "depth": depth,
            "pairs": sum(len(of.logits) for of in found.values()),
            "pairs_reused": logits.reused if logits else 0,
            "not_reranked": sum(not len(of.logits) for of in found.values()),
            "seconds": round(seconds, 1),
        }
        rankings = rerank_runs(found, weights, depth)
        compared.append(_compared(name, path, rankings, labelled, chosen, details))
    return _evaluation("Rerank", compared, draw, described)


def describe(system: System, models: Mapping[str, Any]) -> dict[str, Any]:
    """A system's settings that decide its answers, and its models with their hashes."""
    settings = system.settings.model_dump(mode="json", include=set(VARIED))
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
    name: str,
    path: Path,
    runs: Mapping[str, ScoredRun],
    labelled: Collection,
    chosen: Sequence[str],
    details: Mapping[str, Any],
) -> Compared:
    judged: Qrels = {query: labelled.qrels[query] for query in chosen}
    return Compared(name, path, data_sha256(path), runs, measure(runs, judged), details)


def _evaluation(
    title: str, compared: list[Compared], draw: Draw, described: Mapping[str, Any]
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
    }
    return Evaluation(report, compared)
