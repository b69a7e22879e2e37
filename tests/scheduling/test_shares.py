"""Which client goes first, by a clock that the test moves."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline
from service.scheduling.shares import (
    CREDIT_S,
    LEAD_S,
    MOST_WEIGHT,
    PATIENCE_S,
    Shares,
    on_behalf_of,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shares(clock: Clock) -> Shares:
    return Shares(clock)


def test_who_is_ahead_is_held_back_while_others_are_at_work(shares: Shares, clock: Clock) -> None:
    with shares.at_work("greedy"):
        shares.charge("greedy", 10.0)
        assert shares.may_go("greedy", clock.now), "alone it waits for no one"
        with shares.at_work("modest"):
            assert shares.may_go("modest", clock.now)
            assert not shares.may_go("greedy", clock.now)
            shares.charge("modest", CREDIT_S)
            assert shares.may_go("greedy", clock.now), "what was not used is kept for a moment only"
        shares.charge("greedy", 10.0)
        assert shares.may_go("greedy", clock.now)


def test_who_is_ahead_of_a_client_that_was_here_a_moment_ago_is_greedy(
    shares: Shares, clock: Clock
) -> None:
    with shares.at_work("greedy"):
        shares.charge("greedy", 10.0)
        assert not shares.is_greedy("greedy"), "there is no other"
        with shares.at_work("modest"):
            assert shares.is_greedy("greedy")
        assert shares.is_greedy("greedy")
        assert shares.may_go("greedy", clock.now)
        assert not shares.is_greedy("modest")
        clock.now += PATIENCE_S
        assert not shares.is_greedy("greedy")


def test_a_greedy_client_has_one_piece_of_work_under_way(shares: Shares, clock: Clock) -> None:
    with shares.at_work("greedy"):
        shares.charge("greedy", 10.0)
        with shares.at_work("modest"):
            pass
        with shares.turn("greedy"):
            assert not shares.may_go("greedy", clock.now)
            assert shares.may_go("modest", clock.now)
            clock.now += PATIENCE_S
            assert shares.may_go("greedy", clock.now), "the other one has not come back"
        with shares.at_work("modest"):
            pass
        assert shares.may_go("greedy", clock.now)


def test_nothing_is_held_back_for_ever(shares: Shares, clock: Clock) -> None:
    with shares.at_work("greedy"), shares.at_work("modest"):
        shares.charge("greedy", 10.0)
        since = clock.now
        clock.now += PATIENCE_S
        assert not shares.may_go("greedy", since)
        clock.now += 0.01
        assert shares.may_go("greedy", since)


def test_who_asks_for_much_at_a_time_pays_more_for_a_second(shares: Shares) -> None:
    with shares.at_work("one"):
        before = shares.had("one")
        shares.charge("one", 1.0)
        assert shares.had("one") - before == pytest.approx(1.0)
    with shares.at_work("two"), shares.at_work("two"):
        before = shares.had("two")
        shares.charge("two", 1.0)
        assert shares.had("two") - before == pytest.approx(2.0)
    with ExitStack() as work:
        for _ in range(9):
            work.enter_context(shares.at_work("many"))
        before = shares.had("many")
        shares.charge("many", 1.0)
        assert shares.had("many") - before == pytest.approx(MOST_WEIGHT)


def test_a_client_that_is_gone_is_forgotten(shares: Shares) -> None:
    for n in range(1000):
        with shares.at_work(n):
            shares.charge(n, 0.1)
    assert len(shares._had) < 100


def finished(
    shares: Shares, work: Callable[[str], None], asked: list[str | None]
) -> list[str | None]:
    """The order in which one thread does what was asked while it was busy."""
    thread, done, go = OwnerThread("test", shares), [], threading.Event()

    async def ask(client: str | None) -> None:
        with on_behalf_of(client), shares.at_work(client):
            await thread.run(Deadline(20), lambda: work(client or ""))
        done.append(client)

    async def run() -> None:
        busy = asyncio.create_task(thread.run(Deadline(20), go.wait))
        await asyncio.sleep(0.01)
        tasks = []
        for client in asked:
            tasks.append(asyncio.create_task(ask(client)))
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(busy, *tasks)

    asyncio.run(run())
    thread.close()
    return done


def test_few_come_before_many(shares: Shares, clock: Clock) -> None:
    def work(_client: str) -> None:
        clock.now += 0.02

    order = finished(shares, work, ["many"] * 12 + ["few", "other"])
    assert set(order[:3]) == {"many", "few", "other"}


def test_a_small_request_of_a_client_overtakes_its_large_one(shares: Shares, clock: Clock) -> None:
    thread, done, go = OwnerThread("test", shares), [], threading.Event()

    def work() -> None:
        clock.now += 0.02

    async def ask(name: str, pieces: int) -> None:
        with on_behalf_of("client"), shares.at_work("client"):
            for _ in range(pieces):
                await thread.run(Deadline(20), work)
        done.append(name)

    async def run() -> None:
        busy = asyncio.create_task(thread.run(Deadline(20), go.wait))
        await asyncio.sleep(0.01)
        large = [asyncio.create_task(ask(f"large {n}", 10)) for n in range(4)]
        small = asyncio.create_task(ask("small", 1))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(busy, small, *large)

    asyncio.run(run())
    thread.close()
    assert done[0] == "small"


def test_what_is_ahead_waits_in_other_threads_as_well(shares: Shares) -> None:
    one, other = OwnerThread("one", shares), OwnerThread("other", shares)
    go, began = threading.Event(), threading.Event()
    ran: list[str] = []

    async def greedy() -> None:
        with on_behalf_of("greedy"), shares.at_work("greedy"):
            await other.run(Deadline(20), lambda: ran.append("greedy"))

    async def modest() -> None:
        with on_behalf_of("modest"), shares.at_work("modest"):
            await one.run(Deadline(20), lambda: (began.set(), go.wait(20)))
            ran.append("modest")

    async def run() -> None:
        with shares.at_work("greedy"):
            shares.charge("greedy", 10 * LEAD_S)
        search = asyncio.create_task(modest())
        assert await asyncio.to_thread(began.wait, 20)
        held_back = asyncio.create_task(greedy())
        await asyncio.sleep(0.05)
        assert ran == []
        go.set()
        await asyncio.gather(search, held_back)

    asyncio.run(run())
    one.close()
    other.close()
    assert ran == ["modest", "greedy"]


def test_a_turn_of_the_background_waits_for_searches_but_not_for_long(
    shares: Shares, clock: Clock
) -> None:
    taken: list[str] = []

    def index() -> None:
        for _ in range(2):
            with shares.turn("indexer"):
                taken.append("piece")
                clock.now += 1.0

    with shares.at_work("search"):
        thread = threading.Thread(target=index)
        thread.start()
        thread.join(0.2)
        assert taken == ["piece"]
        clock.now += PATIENCE_S + 0.1
        thread.join(20)
    assert taken == ["piece"] * 2


def test_what_has_waited_long_goes_although_its_client_asks_again(
    shares: Shares, clock: Clock
) -> None:
    thread = OwnerThread("test", shares)
    done: list[str] = []

    async def ask(name: str) -> None:
        with on_behalf_of("greedy"), shares.at_work("greedy"):
            await thread.run(Deadline(20), lambda: done.append(name))

    async def run() -> None:
        with shares.at_work("modest"):
            shares.charge("greedy", 100 * LEAD_S)
            first = asyncio.create_task(ask("first"))
            await asyncio.sleep(0.02)
            assert done == []
            clock.now += PATIENCE_S + 0.1
            second = asyncio.create_task(ask("second"))
            await asyncio.wait([first], timeout=1)
            assert done[:1] == ["first"]
        await second

    asyncio.run(run())
    thread.close()


def test_work_in_the_background_gives_way_to_a_client_that_asks_again_and_again(
    shares: Shares, clock: Clock
) -> None:
    search_s, pause_s, part_s = 0.1, 0.05, 0.03

    def search(*, beside: bool) -> float:
        """One search and the pause after it; the background's seconds during the search."""
        with shares.at_work("modest"):
            spent = background(search_s) if beside else 0.0
            shares.charge("modest", search_s)
        if beside:
            background(pause_s)
        else:
            clock.now += search_s + pause_s
        return spent

    def background(seconds: float) -> float:
        """The background's seconds among these."""
        until, spent = clock.now + seconds, 0.0
        while clock.now < until:
            with shares.changed:
                goes = shares.may_go("background", since=clock.now)
            if goes:
                with shares.turn("background"):
                    clock.now += part_s
                spent += part_s
            else:
                clock.now += pause_s / 10
        return spent

    for _ in range(20):  # the background has all the credit that it can have
        search(beside=False)
    spent = [search(beside=True) for _ in range(100)]
    assert sum(spent[5:]) == 0.0
    assert shares.is_greedy("background")

    clock.now += PATIENCE_S + 0.1
    for _ in range(1000):  # what it does for no client's loss is not held against it
        background(1.0)
    assert sum(search(beside=True) for _ in range(200)) == 0.0
    with shares.at_work("modest"):
        for _ in range(int(2 * CREDIT_S / search_s) + 10):
            shares.charge("modest", search_s)
        assert background(search_s) > 0.0
