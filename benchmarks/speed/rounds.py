"""One run: start all systems, then round after round each takes all its turns."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException

from benchmarks.speed.preparation import Prepared
from benchmarks.speed.processes import BenchError
from benchmarks.speed.systems import Answered, Caller, Kind, System

CLIENTS = 16
TURN_SECONDS = 1.0
"""A turn of one client or of batches takes this long, and one answer at least."""

TURN_QUERIES = 20
"""One client asks this many at most, the same of all in a round."""

BATCH = 32
"""Queries in a batch."""

Say = Callable[[str], None]

NO_ANSWER = (BenchError, HTTPException, OSError)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    passages: int = 1000
    judged: int = 100
    """Queries whose hits are compared with the labels; they warm up the systems."""
    rounds: int = 8
    load_seconds: float = 4.0
    encoded: int = 96
    """Passages of a turn."""


QUICK = Plan(passages=300, judged=20, rounds=2, load_seconds=1.5, encoded=32)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a system did in one round; texts of a batch have no `answers`."""

    system: str
    kind: Kind
    round: int
    per_second: float
    answers: tuple[Answered, ...] = ()

    @property
    def median_ms(self) -> float:
        """What a caller waited."""
        return statistics.median(answer.total_ms for answer in self.answers)


@dataclass
class Measured:
    """What came of it; `found` has system -> query id -> passage ids, best first."""

    turns: list[Turn] = field(default_factory=list)
    found: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float | None] = field(default_factory=dict)


class Run:
    """The systems of a run and the queries they are asked. One that fails has no more turns."""

    def __init__(self, plan: Plan, there: Prepared, say: Say) -> None:
        self._plan, self._there, self._say = plan, there, say
        self._passages = list(there.corpus.passages.values())
        labelled = list(there.corpus.queries.items())
        self._judged = dict(labelled[: plan.judged])
        self._asked = [query for _, query in labelled[plan.judged :]]
        self._streams = {system.name: itertools.cycle(there.load) for system in there.systems}
        self.measured = Measured()

    def measure(self) -> Measured:
        """Start all, take the rounds, stop all."""
        try:
            for system in self._there.systems:
                self._say(f"start {system.name}")
                self._guarded(system, self._start)
            for number in range(self._plan.rounds):
                self._say(f"round {number + 1} of {self._plan.rounds}")
                self._round(number)
            for system in self._alive():
                if system.process:
                    self.measured.peak_mb[system.name] = system.process.peak_mb()
        finally:
            for system in self._there.systems:
                system.stop()
        return self.measured

    def _alive(self) -> list[System]:
        return [system for system in self._there.systems if system.process is not None]

    def _guarded(self, system: System, action: Callable[[System], None]) -> None:
        try:
            action(system)
        except NO_ANSWER as failure:
            self._say(f"{system.name} failed: {failure}")
            self._there.not_measured[system.name] = str(failure)
            system.stop()

    def _start(self, system: System) -> None:
        system.start()
        self.measured.start_seconds[system.name] = round(system.start_seconds or 0.0, 2)
        if "16 clients" in system.turns:
            with closing(system.caller()) as caller:
                answers = {id_: caller.ask(query) for id_, query in self._judged.items()}
            if any(answer.ids for answer in answers.values()):
                self.measured.found[system.name] = {i: list(a.ids) for i, a in answers.items()}

    def _round(self, number: int) -> None:
        """One kind of turn after another; the first system is another one each round."""
        systems = self._alive()
        start = number % max(1, len(systems))
        ordered = [*systems[start:], *systems[:start]]
        kinds: tuple[Kind, ...] = ("1 client", "16 clients", "queries", "passages")
        for kind, system in itertools.product(kinds, ordered):
            if kind in system.turns and system.process is not None:
                self._guarded(system, lambda own, kind=kind: self._turn(own, kind, number))  # type: ignore[misc]

    def _turn(self, system: System, kind: Kind, number: int) -> None:
        if kind == "1 client":
            queries = _from(self._asked, number, TURN_QUERIES)
            seconds, answers = one_after_another(system, queries)
        elif kind == "16 clients":
            stream, limit = self._streams[system.name], self._plan.load_seconds
            seconds, answers = at_once(system, CLIENTS, stream, limit)
        else:
            rate = self._batches(system, kind, number)
            self.measured.turns.append(Turn(system.name, kind, number, rate))
            return
        rate = len(answers) / seconds
        self.measured.turns.append(Turn(system.name, kind, number, rate, tuple(answers)))

    def _batches(self, system: System, kind: Kind, number: int) -> float:
        """Texts a second."""
        if kind == "passages":
            texts = _from(self._passages, number, self._plan.encoded)
            return 1000 * len(texts) / system.encode(texts, "passage")
        milliseconds: list[float] = []
        while sum(milliseconds) < 1000 * TURN_SECONDS:
            texts = _from(self._there.load, number * 50 + len(milliseconds), BATCH)
            milliseconds.append(system.encode(texts, "query"))
        return 1000 * BATCH / statistics.median(milliseconds)


def _from(texts: Sequence[str], number: int, size: int) -> list[str]:
    """The texts of a turn; other turns have others as long as there are enough."""
    return [texts[i % len(texts)] for i in range(number * size, (number + 1) * size)]


def one_after_another(system: System, queries: Sequence[str]) -> tuple[float, list[Answered]]:
    """Of one client: the seconds, and the answers until the time is over."""
    # A connection of its own: servers close one that was idle while the others had their turns.
    answers: list[Answered] = []
    with closing(system.caller()) as caller:
        began = time.perf_counter()
        for query in queries:
            answers.append(caller.ask(query))
            if time.perf_counter() - began > TURN_SECONDS:
                break
        return time.perf_counter() - began, answers


def at_once(
    system: System, clients: int, queries: Iterator[str], seconds: float
) -> tuple[float, list[Answered]]:
    """Each client asks one query after another, one at least, until the time is over.

    Raises one of `NO_ANSWER` where an answer is refused.
    """

    def client(first: str, caller: Caller) -> list[Answered]:
        with closing(caller):
            answers = [caller.ask(first)]
            while time.perf_counter() - began < seconds:
                answers.append(caller.ask(next(queries)))
            return answers

    callers = [system.caller() for _ in range(clients)]
    firsts = list(itertools.islice(queries, clients))
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = [answer for each in pool.map(client, firsts, callers) for answer in each]
    return time.perf_counter() - began, answers
