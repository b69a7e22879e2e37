"""`evaluate retrieval` and `evaluate rerank`: systems and run files over labelled collections."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from service.evaluation.candidates import Candidates, Observer, observe
from service.evaluation.comparison import Compared, compared_report, mean_report, measure
from service.evaluation.observations import Draw, Labelled, read_labelled
from service.evaluation.partial_results import measure_each
from service.evaluation.provenance import provenance
from service.evaluation.report import collection_report, scored_run
from service.evaluation.searching import Progress, describe, opened
from service.evaluation.systems import RunFile, ScoredRun, System


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report, for JSON, and the collections that it was made from.

    `failed` says why the other collections could not be measured, by name.
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

    A single system is shown by its two stages, `retrieval` and `reranked`; each of several systems
    by its final order, under its name. The others are compared to the first ranking.
    """
    collections = read_labelled(paths, draw, [system.settings for system in systems])
    read = {
        c.name: {run.name: run.read(c.name, list(c.queries)) for run in runs} for c in collections
    }
    described: dict[str, Any] = {}

    def measured(labelled: Labelled) -> Compared:
        rankings: dict[str, ScoredRun] = {}
        values: dict[str, Any] = {}
        reports: dict[str, Any] = {}
        qrels, path = labelled.qrels, labelled.path
        for system in systems:
            with opened(system.settings, path, chunked=draw.chunked, progress=progress) as it:
                searcher = it.engine.searcher
                described[system.name] = describe(system.settings, searcher)
                title = labelled.name if len(systems) == 1 else f"{labelled.name} {system.name}"
                with progress(title, len(labelled.queries)) as advance:
                    answers = it.answers(labelled.queries, advance)
                thresholds = searcher.second_stage.judge.thresholds
            stages = {stage: scored_run(of) for stage, of in answers.items()}
            of = measure(stages, qrels)
            reports[system.name] = collection_report(answers, of, qrels, thresholds, draw.seed)
            if len(systems) + len(runs) == 1:
                rankings |= stages
                values |= of
            else:
                rankings[system.name], values[system.name] = stages["reranked"], of["reranked"]
        details = next(iter(reports.values())) if len(reports) == 1 else {"systems": reports}
        return _compared(labelled, {**rankings, **read[labelled.name]}, details, values)

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

    Every query is reranked, whatever its language, unless it fills the reranker's window.
    """
    described: dict[str, Any] = {}

    def measured(labelled: Labelled) -> Compared:
        path, chunked = labelled.path, draw.chunked
        with (
            opened(system.settings, path, chunked=chunked, progress=progress) as it,
            progress(labelled.name, len(labelled.queries)) as advance,
        ):
            described[system.name] = describe(system.settings, it.engine.searcher)
            observer, began = (
                Observer(it.engine.searcher, depth, it.queries.encode),
                time.perf_counter(),
            )
            seen = observe(observer, labelled.name, labelled.queries, {}, labelled.queries, advance)
            found = {query: search.answered for query, search in seen.searches.items()}
            seconds = time.perf_counter() - began
        details = {
            "depth": depth,
            "pairs": sum(len(of.logits) for of in found.values()),
            "pairs_reused": it.logits.reused if it.logits else 0,
            "not_reranked": sum(not len(of.logits) for of in found.values()),
            "seconds": round(seconds, 1),
        }
        return _compared(labelled, rerank_runs(found, weights, depth), details)

    collections = read_labelled(paths, draw, [system.settings])
    compared, failed = measure_each({c.name: c for c in collections}, measured)
    return _evaluation("Rerank", list(compared.values()), failed, draw, described)


def rerank_runs(
    candidates: Mapping[str, Candidates], weights: Sequence[float], depth: int
) -> dict[str, ScoredRun]:
    """Rankings by name: `retrieval`, `pure` (by logit) and `fused W` for each share in `weights`.

    The first `depth` passages are reordered; the others follow in stage one's order. A share W is
    as in `confidence.ranking.rank`; 1 is the reranker alone.
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


def _compared(
    labelled: Labelled,
    runs: Mapping[str, ScoredRun],
    details: Mapping[str, Any],
    known: Mapping[str, Any] = MappingProxyType({}),
) -> Compared:
    """The runs with their values, which are measured unless they are `known`."""
    fresh = {name: run for name, run in runs.items() if name not in known}
    values = {**known, **measure(fresh, labelled.qrels)}
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
