"""A client has its share, however many requests it sends."""

import asyncio
from contextlib import ExitStack

import pytest

from service.errors import DeadlineError, OverloadedError
from service.scheduling.gate import Deadline, Gate, Turnstile
from service.scheduling.shares import current_client, on_behalf_of


def taken(gate: Gate, client: str | None, held: ExitStack) -> int:
    """Permits that the client can have, one after another."""
    count = 0
    with on_behalf_of(client):
        while True:
            try:
                gate.check()
                held.enter_context(gate.permit())
            except OverloadedError:
                return count
            count += 1


def test_a_client_gets_a_quarter_and_the_last_one_what_is_left() -> None:
    gate = Gate(10)
    with ExitStack() as held:
        assert [taken(gate, client, held) for client in "abcdef"] == [2, 2, 2, 2, 2, 0]
        assert gate.in_flight == 10
    with ExitStack() as held:
        assert taken(gate, "a", held) == 2, "permits that were given back are the client's again"
    assert gate.in_flight == 0


@pytest.mark.parametrize("limit", [1, 3])
def test_of_few_permits_a_client_gets_one(limit: int) -> None:
    with ExitStack() as held:
        gate = Gate(limit)
        assert [taken(gate, client, held) for client in "abcd"] == [1] * limit + [0] * (4 - limit)


def test_a_batch_gets_no_more_permits_than_its_client_has_left() -> None:
    gate = Gate(16)
    with on_behalf_of("a"), gate.permits(3) as three, gate.permits(3) as one:
        assert (three, one) == (3, 1)
        with pytest.raises(OverloadedError, match="4 searches of this client"), gate.permits(1):
            pass


def test_a_client_may_have_another_share() -> None:
    gate = Gate(16)
    with on_behalf_of("large", 0.5), gate.permits(16) as large:
        with on_behalf_of("small", 0.001), gate.permits(16) as small:
            assert (large, small) == (8, 1)
        with pytest.raises(OverloadedError, match="may have 8 of 16"), gate.permit():
            pass


def test_what_no_client_asks_for_has_the_whole_limit() -> None:
    with ExitStack() as held:
        assert taken(Gate(6), None, held) == 6


def test_a_permit_is_given_back_to_the_client_that_took_it() -> None:
    gate, held = Gate(4), ExitStack()
    with on_behalf_of("a"):
        held.enter_context(gate.permit())
    with on_behalf_of("b"):
        held.close()
    with on_behalf_of("a"), gate.permit():
        assert gate.in_flight == 1


def test_a_patient_client_waits_for_its_permit_until_its_time_is_up() -> None:
    gate = Gate(4)

    async def run() -> None:
        with on_behalf_of("a"), ExitStack() as held:
            held.enter_context(gate.permit())
            with pytest.raises(DeadlineError):
                async with gate.patient_permit(Deadline(0.02)):
                    pass
            asyncio.get_running_loop().call_later(0.05, held.close)
            async with gate.patient_permit(Deadline(10)):
                assert gate.in_flight == 1

    asyncio.run(run())


def test_a_client_waits_for_itself_and_not_for_others_where_it_is_told_so() -> None:
    gate = Gate(4)

    async def run(client: str) -> None:
        with on_behalf_of(client):
            async with gate.patient_permit(Deadline(0.02), when_full=False):
                pass

    with ExitStack() as held:
        for client in "abcd":
            taken(gate, client, held)
        with pytest.raises(OverloadedError):
            asyncio.run(run("e"))
    with ExitStack() as held:
        taken(gate, "a", held)
        with pytest.raises(DeadlineError):
            asyncio.run(run("a"))


def test_a_task_and_a_thread_work_for_the_client_of_the_request() -> None:
    async def run() -> tuple[str | None, str | None]:
        with on_behalf_of("a"):
            task = asyncio.create_task(asyncio.to_thread(current_client))
            return current_client(), await task

    assert asyncio.run(run()) == ("a", "a")
    assert current_client() is None


def test_of_many_pieces_of_one_client_one_is_let_through_at_a_time() -> None:
    order: list[str] = []
    most: dict[str, int] = {}
    inside: list[str] = []
    turnstile = Turnstile(2)

    async def piece(client: str) -> None:
        with on_behalf_of(client):
            async with turnstile.turn():
                inside.append(client)
                for one in inside:
                    most[one] = max(most.get(one, 0), inside.count(one))
                most["all"] = max(most.get("all", 0), len(inside))
                await asyncio.sleep(0.001)
                inside.remove(client)
        order.append(client)

    async def run() -> None:
        await asyncio.gather(*(piece(client) for client in ["many"] * 20 + ["b", "c"]))

    asyncio.run(run())
    assert most == {"many": 1, "b": 1, "c": 1, "all": 2}
    assert {"b", "c"} <= set(order[:5]), "few do not wait for many"
