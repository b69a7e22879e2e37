"""Rounds at one client, and load of several."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException

from benchmarks.speed.processes import BenchError
from benchmarks.speed.systems import Answered, Question, System

TURN_SECONDS = 1.0
"""A turn has one question, and more of them until this time is over: fast systems have more."""

TURN_QUESTIONS = 20
"""At most."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One answer: who gave it, in which round, to which question."""

    system: str
    round: int
    question: str
    answered: Answered


@dataclass(frozen=True, slots=True)
class Load:
    """What so many clients at once saw of a system: milliseconds of each answer."""

    system: str
    clients: int
    seconds: float
    milliseconds: tuple[float, ...]
    answered: tuple[Timed, ...]

    @property
    def per_second(self) -> float:
        """Answers a second, over the whole time."""
        return len(self.milliseconds) / self.seconds


Say = Callable[[str], None]
Fail = Callable[[System, str], None]
"""Told of a system that no longer answers, and why."""

NO_ANSWER = (BenchError, HTTPException, OSError)


def in_turn(
    systems: Sequence[System],
    questions: Sequence[Question],
    rounds: int,
    say: Say,
    fail: Fail,
    most: int = TURN_QUESTIONS,
) -> list[Timed]:
    """Each round every system has a turn; the first one is another one each round.

    A turn has `most` questions at most, the first one of a round being the same for all. A system
    that fails has no more turns.
    """
    timed: list[Timed] = []
    failed: set[str] = set()
    for number in range(rounds):
        first = number * most
        turn = [questions[i % len(questions)] for i in range(first, first + most)]
        start = number % len(systems)
        for system in [*systems[start:], *systems[:start]]:
            if system.name in failed:
                continue
            try:
                timed += _turn(system, number, turn)
            except NO_ANSWER as failure:
                failed.add(system.name)
                fail(system, str(failure))
        say(f"round {number + 1} of {rounds}")
    return timed


def _turn(system: System, number: int, questions: Sequence[Question]) -> list[Timed]:
    # A connection of its own: servers close one that was idle while the others had their turns.
    timed: list[Timed] = []
    with closing(system.caller()) as caller:
        began = time.perf_counter()
        for question in questions:
            timed.append(Timed(system.name, number, question.id, caller.ask(question)))
            if time.perf_counter() - began > TURN_SECONDS:
                break
    return timed


def under_load(system: System, clients: int, questions: Iterator[Question], seconds: float) -> Load:
    """Each client asks one question after another: at least one, and until the time is over.

    Raises one of `NO_ANSWER` where an answer is refused.
    """

    def client(first: Question) -> list[tuple[Question, Answered]]:
        with closing(system.caller()) as caller:
            answers = [(first, caller.ask(first))]
            while time.perf_counter() - began < seconds:
                question = next(questions)
                answers.append((question, caller.ask(question)))
        return answers

    if system.port is None:
        raise BenchError(f"{system.name} takes one client")
    firsts = list(itertools.islice(questions, clients))
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = [answer for each in pool.map(client, firsts) for answer in each]
    took = time.perf_counter() - began
    return Load(
        system.name,
        clients,
        took,
        tuple(answered.total_ms for _, answered in answers),
        tuple(Timed(system.name, -1, question.id, answered) for question, answered in answers),
    )
