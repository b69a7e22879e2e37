"""The readers of a server: processes that answer searches beside the one that owns the folder."""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11

import service
from service.api.channel import Channel
from service.api.exchange import get
from service.settings import Settings

log = logging.getLogger(__name__)

OWNER = "0"
"""The owner's number among the workers."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Before a reader is started again: twice as long each time, until one has lived for a while."""
_WHILE_S = 60.0
_FIGURES_S = 2.0
_PULSE_S, _PATIENCE_S = 5.0, 30.0
"""How often a reader that is ready is asked whether it runs, and how long it may be silent."""
_GRACE_S = 10
_END_S = 12.0
"""A reader lets searches go on for ten seconds; one that takes longer than this is killed."""

_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from service.api import reader; reader.main()"
)
READER = [sys.executable, "-P", "-c", _START, str(Path(service.__file__).parents[1])]
"""The command of a reader: this very package, whatever stands in the folder that we are in."""


def per_worker(settings: Settings) -> Settings:
    """The settings of each worker: the cores are shared out where nobody says how."""
    if settings.workers == 1 or settings.threads:
        return settings
    return settings.model_copy(update={"threads": max(1, _cores() // settings.workers)})


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(slots=True)
class _Reader:
    number: int
    note: str = ""
    process: asyncio.subprocess.Process | None = None
    channel: Channel | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Crew:
    """Starts the readers, hands them connections, starts again those that end. From one loop.

    `take` gets what they ask of the owner: connections to serve.
    """

    def __init__(self, settings: Settings, take: Callable[[socket.socket], None]) -> None:
        self._settings, self._take = settings, take
        self._readers = [_Reader(number) for number in range(1, settings.workers)]
        self._tasks: list[asyncio.Task[None]] = []
        self._loaded, self._closing = asyncio.Event(), asyncio.Event()
        self._turn = 0

    def start(self) -> None:
        """Start all readers; each is handed connections once it is ready."""
        self._tasks = [asyncio.create_task(self._keep(reader)) for reader in self._readers]

    def go_on(self) -> None:
        """Let the readers open the data folder: the owner has."""
        self._loaded.set()

    @property
    def notes(self) -> list[str]:
        """Which readers do not answer searches, and why."""
        notes = {
            r.number: "is silent" if r.channel and r.channel.silent else r.note
            for r in self._readers
        }
        return [f"worker {number}: {note}" for number, note in notes.items() if note]

    def hand_over(self, connection: socket.socket) -> bool:
        """Let the reader whose turn it is have a connection; False where it is the owner's turn."""
        ready = [
            r for r in self._readers if r.ready.is_set() and r.channel and not r.channel.silent
        ]
        self._turn = (self._turn + 1) % (len(ready) + 1)
        reader = ready[self._turn - 1] if self._turn else None
        return bool(reader and reader.channel and reader.channel.hand_over(connection))

    async def figures(self) -> dict[str, bytes]:
        """What `/metrics` of each reader that is ready says, by its number."""

        async def of(reader: _Reader, channel: Channel) -> tuple[str, bytes] | None:
            try:
                async with asyncio.timeout(_FIGURES_S):
                    return str(reader.number), await get(channel.connect(), b"/metrics")
            except (OSError, h11.ProtocolError) as error:  # TimeoutError is an OSError
                log.warning("the figures of worker %d are left out: %r", reader.number, error)
                return None

        asked = [of(r, r.channel) for r in self._readers if r.ready.is_set() and r.channel]
        return dict(filter(None, await asyncio.gather(*asked)))

    def let_go(self) -> None:
        """Tell all readers to end. What they ask until then has to be answered."""
        self._closing.set()
        self._loaded.set()
        for reader in self._readers:
            if reader.ready.is_set() and reader.channel:
                reader.channel.let_go()
            else:
                _kill(reader)  # it serves nobody yet

    async def ended(self) -> None:
        """Wait until all readers have ended; those that take too long are killed."""
        if not self._closing.is_set():
            self.let_go()
        if self._tasks and (await asyncio.wait(self._tasks, timeout=_END_S))[1]:
            for reader in self._readers:
                _kill(reader)
            await asyncio.wait(self._tasks)

    async def _keep(self, reader: _Reader) -> None:
        """Run a reader again and again until the crew is let go."""
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE_S
        reader.note = "is loading"
        while not self._closing.is_set():
            began = loop.time()
            try:
                why = f"ended with status {await self._run(reader)}"
            except OSError as error:
                why = f"cannot be started: {error}"
            if self._closing.is_set():
                return
            if loop.time() - began > _WHILE_S:
                pause = _FIRST_PAUSE_S
            reader.note = f"{why} and is started again; see the server's log"
            log.error("worker %d %s; it is started again in %.0f s", reader.number, why, pause)
            await _within(pause, self._closing.wait())
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _run(self, reader: _Reader) -> int:
        """Run a reader from its start to its end; gives its exit status."""
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as undo:
            undo.enter_context(ours)
            # A session of its own: who stops the server by its terminal asks the owner alone.
            reader.process = process = await asyncio.create_subprocess_exec(
                *READER, stdin=theirs.fileno(), start_new_session=True
            )
            undo.pop_all()
        reader.channel = channel = Channel(ours)
        channel.listen(self._take, reader.ready.clear, lambda: self._is_ready(reader))
        grace_s = min(_GRACE_S, self._settings.shutdown_grace_s)
        of_reader = self._settings.model_copy(update={"shutdown_grace_s": grace_s})
        settings = of_reader.model_dump(mode="json")
        told = json.dumps({"worker": reader.number, "settings": settings}).encode() + b"\n"
        try:
            await self._loaded.wait()  # its imports take seconds, and nothing of the folder
            if self._closing.is_set():
                return 0
            await asyncio.get_running_loop().sock_sendall(ours, told)
            watch = asyncio.create_task(self._watch(reader, channel))
            try:
                return await process.wait()
            finally:
                watch.cancel()
        finally:
            _kill(reader)
            await process.wait()
            reader.ready.clear()
            reader.channel = None
            channel.close()

    async def _watch(self, reader: _Reader, channel: Channel) -> None:
        """Kill a reader that hangs; for good, as the one to be started next has another watch."""
        while True:
            await asyncio.sleep(_PULSE_S)
            if not reader.ready.is_set():
                continue
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await channel.pulse()
            except TimeoutError:
                if reader.ready.is_set() and not self._closing.is_set():
                    log.error("worker %d has been silent for %.0f s", reader.number, _PATIENCE_S)
                    _kill(reader)
                    return

    def _is_ready(self, reader: _Reader) -> None:
        log.info("worker %d is ready", reader.number)
        reader.note = ""
        reader.ready.set()


def _kill(reader: _Reader) -> None:
    if reader.process is not None and reader.process.returncode is None:
        with suppress(ProcessLookupError):
            reader.process.kill()


async def _within(seconds: float, wait: Coroutine[Any, Any, object]) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(wait, seconds)
