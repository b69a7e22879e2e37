"""How readers are started, dealt connections and started again; here they load nothing."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.api import channel as channel_module
from service.api import crew as crew_module
from service.api.crew import Crew
from service.api.state import ServerState
from service.settings import Settings

READER = """
import json, os, socket, sys, time
end = socket.socket(fileno=0)
told = json.loads(end.makefile("rb", buffering=0).readline())
end.send(b"r")
while (received := socket.recv_fds(end, 1, 1))[0]:
    if received[0] == b"a":
        end.send(b"b")
        continue
    with socket.socket(fileno=received[1][0]) as connection:
        connection.sendall(json.dumps([told["worker"], os.getpid()]).encode())
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "READER", [sys.executable, "-S", "-c", READER, "0"])
    monkeypatch.setattr(crew_module, "_FIRST_PAUSE_S", 0.3)


def new_crew(workers: int) -> Crew:
    return Crew(Settings(workers=workers), lambda connection: connection.close())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - an event of nobody's tells
            await asyncio.sleep(0.01)


async def running(workers: int) -> Crew:
    """A crew whose readers are all ready."""
    crew = new_crew(workers)
    crew.start()
    await asyncio.sleep(0)
    crew.go_on()
    await until(lambda: not crew.notes)
    return crew


async def deal(crew: Crew) -> tuple[int, int]:
    """Which worker is handed the next connection, and its process."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if not crew.hand_over(theirs):
            return 0, os.getpid()
        ours.setblocking(False)
        worker, process = json.loads(await asyncio.get_running_loop().sock_recv(ours, 100))
        return worker, process


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_get_connections_in_turn_and_one_that_dies_is_started_again() -> None:
    async def scenario() -> None:
        crew = new_crew(3)
        crew.start()
        await asyncio.sleep(0)
        assert crew.notes == ["worker 1: is loading", "worker 2: is loading"]
        assert (await deal(crew))[0] == 0, "nobody is ready before the owner lets them go on"
        crew.go_on()
        await until(lambda: not crew.notes)
        processes = dict([await deal(crew) for _ in range(3)])
        assert sorted(processes) == [0, 1, 2]
        assert dict([await deal(crew) for _ in range(3)]) == processes

        os.kill(processes[1], signal.SIGKILL)
        await until(lambda: bool(crew.notes))
        (note,) = crew.notes
        assert note == "worker 1: ended with status -9 and is started again; see the server's log"
        assert {(await deal(crew))[0] for _ in range(4)} == {0, 2}
        await until(lambda: not crew.notes)
        again = dict([await deal(crew) for _ in range(3)])
        assert sorted(again) == [0, 1, 2]
        assert again[1] != processes[1]

        crew.let_go()
        await crew.ended()
        assert not is_running(again[1])
        assert not is_running(again[2])

    asyncio.run(scenario())


def test_one_that_hangs_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_PULSE_S", 0.2)
    monkeypatch.setattr(crew_module, "_PATIENCE_S", 2.0)
    monkeypatch.setattr(channel_module, "_ASK_AGAIN_S", 0.5)

    async def scenario() -> None:
        crew = await running(3)
        processes = dict([await deal(crew) for _ in range(3)])
        os.kill(processes[1], signal.SIGSTOP)
        await until(lambda: bool(crew.notes))
        assert crew.notes == ["worker 1: is silent"]
        assert {(await deal(crew))[0] for _ in range(4)} == {0, 2}, "it is dealt no more"
        await until(lambda: "is silent" not in crew.notes[0])
        assert "worker 1: ended with status -9" in crew.notes[0]
        await until(lambda: not crew.notes)
        again = dict([await deal(crew) for _ in range(3)])
        assert again[1] != processes[1]
        assert again[2] == processes[2], "one that answers is let alone"
        await crew.ended()

    asyncio.run(scenario())


def test_one_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_PULSE_S", 0.1)
    monkeypatch.setattr(crew_module, "_END_S", 0.3)

    async def scenario() -> None:
        crew = await running(2)
        _, process = await deal(crew)
        os.kill(process, signal.SIGSTOP)
        await asyncio.sleep(0.5)  # it is being asked
        async with asyncio.timeout(10):
            await crew.ended()
        assert not is_running(process)

    asyncio.run(scenario())


def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "READER", [*crew_module.READER[:-1], "60"])
    monkeypatch.setattr(crew_module, "_END_S", 0.2)

    async def scenario() -> None:
        crew = await running(2)
        _, process = await deal(crew)
        assert is_running(process)
        await crew.ended()
        assert not is_running(process)

    asyncio.run(scenario())


def test_one_that_cannot_be_started_is_told_to_whoever_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(crew_module, "READER", [str(tmp_path / "none")])

    async def scenario() -> None:
        state = ServerState(Settings(workers=2), NotImplementedError)  # type: ignore[arg-type]
        state.crew = new_crew(2)
        state.crew.start()
        await until(lambda: any("cannot be started" in note for note in state.notes))
        await state.crew.ended()

    asyncio.run(scenario())
