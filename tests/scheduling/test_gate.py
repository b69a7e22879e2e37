import asyncio
import threading

import pytest

from service.errors import DeadlineError, OverloadedError
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline, Gate


def test_gate_turns_away_what_is_above_its_limit_and_forgets_who_left() -> None:
    gate = Gate(2)
    with gate.permit(), gate.permit():
        with pytest.raises(OverloadedError, match="2 searches"), gate.permit():
            pass
        assert gate.in_flight == 2
    with gate.permit():
        assert gate.in_flight == 1


def test_several_permits_are_as_many_as_are_free() -> None:
    gate = Gate(5)
    with gate.permits(3) as three, gate.permits(4) as two:
        assert (three, two, gate.in_flight) == (3, 2, 5)
        with pytest.raises(OverloadedError), gate.permits(1):
            pass
    assert gate.in_flight == 0


def test_gate_counts_down_after_an_error() -> None:
    gate = Gate(1)
    with pytest.raises(KeyError), gate.permit():
        raise KeyError
    assert gate.in_flight == 0


def test_all_work_runs_in_one_thread_and_in_order() -> None:
    thread = OwnerThread("model")
    seen: list[tuple[int, int]] = []

    async def run() -> None:
        deadline = Deadline(5)
        await asyncio.gather(
            *(
                thread.run(deadline, lambda i=i: seen.append((i, threading.get_ident())))
                for i in range(20)
            )
        )

    asyncio.run(run())
    thread.close()
    assert [number for number, _ in seen] == list(range(20))
    assert len({identity for _, identity in seen}) == 1
    assert seen[0][1] != threading.get_ident()


def test_work_that_has_not_begun_at_the_deadline_never_begins() -> None:
    thread = OwnerThread("model")
    blocked, ran = threading.Event(), threading.Event()

    async def run() -> None:
        slow = asyncio.create_task(thread.run(Deadline(5), blocked.wait))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError):
            await thread.run(Deadline(0.05), ran.set)
        blocked.set()
        await slow

    asyncio.run(run())
    thread.close()
    assert not ran.is_set()


def test_errors_of_the_work_reach_the_caller() -> None:
    thread = OwnerThread("model")
    with pytest.raises(ZeroDivisionError):
        asyncio.run(thread.run(Deadline(1), lambda: 1 // 0))
    thread.close()


def test_a_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    def work() -> None:
        raise TimeoutError("the work's own")

    thread = OwnerThread("model")
    with pytest.raises(TimeoutError, match="own"):
        asyncio.run(thread.run(Deadline(1), work))
    thread.close()


def test_deadline_that_has_passed_has_nothing_left() -> None:
    assert Deadline(0).left() == 0.0
    assert 4.0 < Deadline(5).left() <= 5.0
