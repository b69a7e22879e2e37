"""One run: start all systems, ask them in turn, load those that take several clients."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.speed.measure import (
    NO_ANSWER,
    TURN_QUESTIONS,
    Fail,
    Load,
    Say,
    Timed,
    in_turn,
    under_load,
)
from benchmarks.speed.preparation import Prepared
from benchmarks.speed.systems import Question, System

CLIENTS = (4, 16)
WARM_UPS = 2
LOAD_QUESTIONS = 400
STOCK = "sentence-transformers, in process"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    passages: int = 1000
    candidates: int = 100
    rounds: int = 12
    load_seconds: float = 10.0
    repeats: int = 2
    """Of the load at the fewest clients; the one at most clients is long in itself."""


QUICK = Plan(passages=300, candidates=30, rounds=3, load_seconds=2.0, repeats=1)


@dataclass
class Measured:
    """What came of it."""

    timed: list[Timed] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    start_seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, dict[str, float | None]] = field(default_factory=dict)


def measure(plan: Plan, there: Prepared, say: Say) -> Measured:
    """Start all, ask them in turn, load those that take several clients, stop all."""
    measured = Measured()

    def fail(system: System, reason: str) -> None:
        say(f"{system.name} failed: {reason}")
        there.not_measured[system.name] = reason
        system.stop()

    try:
        _start(there, plan, measured, say, fail)
        questions = _questions(plan, there)
        say("warm-up")
        in_turn(_alive(there), questions[:WARM_UPS], WARM_UPS, lambda _: None, fail)
        # Of few questions half are left for the load: one that was asked before costs less.
        most = max(1, min(TURN_QUESTIONS, (len(questions) - WARM_UPS) // (2 * plan.rounds)))
        asked = WARM_UPS + plan.rounds * most
        own = questions[WARM_UPS:asked]
        measured.timed = in_turn(_alive(there), own, plan.rounds, say, fail, most)
        _note_peaks(_alive(there), measured, "one client")
        for system in there.systems:
            if system.port is None:
                system.stop()
        _load(plan, there, questions[asked:] or questions, measured, say, fail)
    finally:
        for system in there.systems:
            system.stop()
    return measured


def _alive(there: Prepared) -> list[System]:
    return [system for system in there.systems if system.process is not None]


def _start(there: Prepared, plan: Plan, measured: Measured, say: Say, fail: Fail) -> None:
    passages = list(there.corpus.passages.items())[: plan.candidates]
    first = Question("start", "How is it done?", passages)
    for system in there.systems:
        say(f"start {system.name}")
        try:
            system.start(first)
        except NO_ANSWER as failure:
            fail(system, str(failure))
        else:
            measured.start_seconds[system.name] = round(system.start_seconds or 0.0, 2)


def _load(
    plan: Plan,
    there: Prepared,
    questions: Sequence[Question],
    measured: Measured,
    say: Say,
    fail: Fail,
) -> None:
    """Each system is asked the same questions in the same order; the systems in turn."""
    streams = {system.name: itertools.cycle(questions) for system in there.systems}
    for clients in CLIENTS:
        for _ in range(plan.repeats if clients == min(CLIENTS) else 1):
            for system in _alive(there):
                say(f"{clients} clients: {system.name}")
                stream = streams[system.name]
                try:
                    measured.loads.append(under_load(system, clients, stream, plan.load_seconds))
                except NO_ANSWER as failure:
                    fail(system, str(failure))
    _note_peaks(_alive(there), measured, f"{max(CLIENTS)} clients")


def _questions(plan: Plan, there: Prepared) -> list[Question]:
    """Queries with the candidates that exact search gives: the same for those without stage one."""
    stock = next((s for s in there.systems if s.name == STOCK), None)
    if stock is None or stock.process is None:
        raise SystemExit("sentence-transformers must run: its candidates are everybody's")
    most = WARM_UPS + TURN_QUESTIONS * plan.rounds + LOAD_QUESTIONS
    queries = dict(itertools.islice(there.corpus.queries.items(), most))
    answer = stock.process.ask(
        {"candidates_of": list(queries.values()), "num_candidates": plan.candidates}
    )
    texts = there.corpus.passages
    return [
        Question(id_, query, [(found, texts[found]) for found in candidates])
        for (id_, query), candidates in zip(queries.items(), answer["candidates"], strict=True)
    ]


def _note_peaks(systems: Sequence[System], measured: Measured, when: str) -> None:
    for system in systems:
        measured.peak_mb.setdefault(system.name, {})[when] = system.peak_mb()
