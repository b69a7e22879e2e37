"""Work of many callers in one thread: company, turns, errors, deadlines."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from service.errors import DeadlineError, NotReadyError
from service.scheduling.batcher import Batcher
from service.scheduling.gate import Deadline
from service.scheduling.shares import Shares, on_behalf_of, one_caller


class Doubler:
    """Gives each number twice over, `None` an error, and waits for `may_go` before each pass."""

    def __init__(self) -> None:
        self.passes: list[list[int | None]] = []
        self.threads: set[int] = set()
        self.begun, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()

    def __call__(self, numbers: Sequence[int | None]) -> list[int]:
        self.passes.append(list(numbers))
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.may_go.wait(10)
        if None in numbers:
            raise ZeroDivisionError
        return [2 * number for number in numbers if number is not None]

    def batcher(self, budget: int = 8) -> Batcher[int | None, int]:
        return Batcher(
            "test", self, cost=lambda number: abs(number or 1), budget=budget, shares=Shares()
        )


def ask(batcher: Batcher[int | None, int], number: int, client: str) -> asyncio.Task[int]:
    with on_behalf_of(client):
        return asyncio.create_task(batcher.run(number, Deadline(10)))


async def behind(work: Doubler, batcher: Batcher[int | None, int]) -> asyncio.Task[int]:
    """A pass that runs until `may_go` is set, so that what comes next has to wait."""
    work.may_go.clear()
    first = asyncio.create_task(batcher.run(0, Deadline(10)))
    assert await asyncio.to_thread(work.begun.wait, 10)
    return first


def test_what_arrives_together_is_one_pass_and_each_gets_its_own() -> None:
    work = Doubler()
    batcher = work.batcher(budget=100)

    async def run() -> list[int]:
        return await asyncio.gather(*(batcher.run(i, Deadline(10)) for i in range(10)))

    assert asyncio.run(run()) == [2 * i for i in range(10)]
    batcher.close()
    assert work.passes == [list(range(10))]
    assert work.threads != {threading.get_ident()}


def test_an_idle_thread_waits_for_nobody_and_a_busy_one_gathers_what_comes() -> None:
    work = Doubler()
    batcher = work.batcher()

    async def run() -> None:
        first = await behind(work, batcher)
        others = []
        for i in (1, 2, 3):
            others.append(asyncio.create_task(batcher.run(i, Deadline(10))))
            await asyncio.sleep(0.01)
        work.may_go.set()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6]

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[0], [1, 2, 3]]


def test_a_pass_keeps_to_the_budget_and_what_is_above_it_goes_alone() -> None:
    work = Doubler()
    batcher = work.batcher(budget=8)

    async def run() -> None:
        numbers = [5, 3, 1, 20, 2]
        found = await asyncio.gather(*(batcher.run(i, Deadline(10)) for i in numbers))
        assert found == [10, 6, 2, 40, 4]

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[5, 3], [1], [20], [2]]


def test_a_caller_with_many_does_not_hold_up_one_with_few() -> None:
    work = Doubler()
    batcher = work.batcher(budget=4)

    async def run() -> None:
        await behind(work, batcher)
        with one_caller():
            many = [asyncio.create_task(batcher.run(1, Deadline(10))) for _ in range(12)]
        await asyncio.sleep(0)
        few = [ask(batcher, -1, who) for who in "ab"]
        await asyncio.sleep(0)
        work.may_go.set()
        assert await asyncio.gather(*few) == [-2, -2]
        assert await asyncio.gather(*many) == [2] * 12

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[0], [1, -1, -1, 1], [1] * 4, [1] * 4, [1] * 2]


def test_a_caller_with_large_items_stands_behind_the_others_after_each() -> None:
    work = Doubler()
    batcher = work.batcher(budget=8)

    async def run() -> None:
        await behind(work, batcher)
        with one_caller():
            many = [asyncio.create_task(batcher.run(5, Deadline(10))) for _ in range(4)]
        await asyncio.sleep(0)
        few = [ask(batcher, -5, who) for who in "ab"]
        await asyncio.sleep(0)
        work.may_go.set()
        await asyncio.gather(*few, *many)

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[0], [5], [-5], [-5], [5], [5], [5]]


def test_a_caller_without_a_client_has_as_much_of_a_pass_as_a_client() -> None:
    work = Doubler()
    batcher = work.batcher(budget=3)

    async def run() -> None:
        await behind(work, batcher)
        with one_caller():
            mine = [asyncio.create_task(batcher.run(1, Deadline(10))) for _ in range(3)]
        with on_behalf_of("a"):
            others = [asyncio.create_task(batcher.run(-1, Deadline(10))) for _ in range(3)]
        await asyncio.sleep(0)
        work.may_go.set()
        await asyncio.gather(*mine, *others)

    asyncio.run(run())
    batcher.close()
    assert work.passes[1] == [1, -1, 1]


def test_a_greedy_client_has_little_of_a_pass() -> None:
    work, shares = Doubler(), Shares()
    batcher: Batcher[int | None, int] = Batcher(
        "test", work, cost=lambda number: abs(number or 1), budget=8, shares=shares
    )

    async def run() -> None:
        with shares.at_work("greedy"), on_behalf_of("greedy"):
            shares.charge("greedy", 10.0)
            for _ in range(2):
                await asyncio.gather(*(batcher.run(1, Deadline(10)) for _ in range(8)))
                with shares.at_work("other"):
                    pass

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[1] * 8, *[[1] * 2] * 4]


def test_a_query_that_was_given_up_costs_its_caller_no_turn() -> None:
    work = Doubler()
    batcher = work.batcher(budget=8)

    async def run() -> None:
        await behind(work, batcher)
        with on_behalf_of("a"):
            gone = asyncio.create_task(batcher.run(7, Deadline(10)))
            await asyncio.sleep(0)
            other = asyncio.create_task(batcher.run(5, Deadline(10)))
        others = [other, ask(batcher, 6, "b")]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        work.may_go.set()
        await asyncio.gather(*others)

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[0], [5], [6]]


def test_an_error_is_that_of_its_own_caller() -> None:
    work = Doubler()
    batcher = work.batcher(budget=100)

    async def run() -> list[object]:
        numbers = [1, None, 3]
        return await asyncio.gather(
            *(batcher.run(i, Deadline(10)) for i in numbers), return_exceptions=True
        )

    first, second, third = asyncio.run(run())
    batcher.close()
    assert (first, third) == (2, 6)
    assert isinstance(second, ZeroDivisionError)
    assert work.passes == [[1, None, 3], [1], [None], [3]]


def test_too_few_outcomes_are_an_error_and_nobody_waits_for_ever() -> None:
    batcher = Batcher[int, int]("test", lambda _: [], cost=lambda _: 1, budget=4)

    async def run() -> list[object]:
        waiting = (batcher.run(i, Deadline(10)) for i in range(2))
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(error) for error in asyncio.run(run())] == [ValueError, ValueError]
    batcher.close()


def test_a_deadline_or_a_caller_that_leaves_touches_nobody_else() -> None:
    work = Doubler()
    batcher = work.batcher()

    async def run() -> None:
        first = await behind(work, batcher)
        late = asyncio.create_task(batcher.run(1, Deadline(0.03)))
        gone = asyncio.create_task(batcher.run(2, Deadline(10)))
        patient = asyncio.create_task(batcher.run(3, Deadline(10)))
        with pytest.raises(DeadlineError):
            await late
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        work.may_go.set()
        assert await patient == 6
        assert await first == 0

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[0], [3]]


def test_a_deadline_in_the_midst_of_a_pass_ends_the_waiting_of_one_alone() -> None:
    work = Doubler()
    batcher = work.batcher()

    async def run() -> None:
        work.may_go.clear()
        hasty = asyncio.create_task(batcher.run(1, Deadline(0.03)))
        patient = asyncio.create_task(batcher.run(2, Deadline(10)))
        began = time.monotonic()
        with pytest.raises(DeadlineError):
            await hasty
        assert time.monotonic() - began < 5
        work.may_go.set()
        assert await patient == 4

    asyncio.run(run())
    batcher.close()
    assert work.passes == [[1, 2]]


def test_what_waits_when_it_is_closed_is_told_so() -> None:
    work = Doubler()
    batcher = work.batcher()

    async def run() -> None:
        first = await behind(work, batcher)
        waiting = asyncio.create_task(batcher.run(1, Deadline(10)))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        with pytest.raises(NotReadyError, match="closed"):
            await waiting
        work.may_go.set()
        assert await first == 0
        await closing
        with pytest.raises(NotReadyError, match="closed"):
            await batcher.run(2, Deadline(10))

    asyncio.run(run())
    assert work.passes == [[0]]
