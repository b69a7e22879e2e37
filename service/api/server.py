"""The HTTP server: uvicorn's, with our accepting of connections and an end that is told."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from service.api.connection import Connection, Surroundings
from service.api.connections import Connections, Phase, Rarely
from service.api.head import MOST_HEAD_BYTES, on_the_wire, refusal
from service.settings import Settings

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long a thread that works in Python may keep the event loop waiting: a tenth of the usual
time, as an answer waits so long several times over (each time that the loop wakes up)."""

_PAUSE_S = 1.0
"""Before the next connection, where there are no more file descriptors, say."""

_LAST_S = 1
"""For requests that are cut to say so, before their tasks are cancelled."""

_LOOK_EVERY_S = 0.1


class Server(uvicorn.Server):
    """Uvicorn's server with our connections, our accepting of them, and an end that is told."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        phase: Phase,
        listener: socket.socket,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive_timeout_s,
                timeout_graceful_shutdown=_LAST_S,
                h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            )
        )
        self._settings, self._phase, self._listener = settings, phase, listener
        self._connections = Connections(settings.max_connections)
        self._accepting: asyncio.Task[None] | None = None
        self._taking: set[asyncio.Task[None]] = set()
        self._tell_accept, self._tell_full = Rarely(), Rarely()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        sys.setswitchinterval(SWITCH_S)
        super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        await super().startup(sockets or [])

    async def main_loop(self) -> None:
        await super().main_loop()
        self._phase.stopping = True
        if self._phase.loaded and self._captured_signals:
            await self._go_on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._phase.stopping = self._phase.closing = True
        self.stop_accepting()
        if not self._phase.loaded and self._captured_signals:
            _end_at_once(self._captured_signals[-1])
        await self._finish_requests()
        self._phase.cut = True
        await super().shutdown(sockets or [])

    def stop_accepting(self) -> None:
        """Close the listening socket."""
        if self._accepting is not None:
            self._accepting.cancel()
        self._listener.close()

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that was just accepted."""
        if not self._connections.make_room():
            if self._tell_full():
                log.error("connections are refused: all of them are busy with requests")
            _refuse(connection)
            return
        task = asyncio.create_task(self._take(connection, Connection(self._shared())))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, connection: socket.socket, protocol: Connection) -> None:
        connection.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # it is gone already
            self._connections.forget(protocol)
            connection.close()

    def _shared(self) -> Surroundings:
        return Surroundings(
            self.config,
            self.server_state,
            self.lifespan.state,
            self._connections,
            self._phase,
            self._settings.header_timeout_s,
        )

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _address = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue  # the client's doing: no reason to let the next one wait
            except OSError as error:
                if self._tell_accept():
                    log.error("cannot accept connections, and go on trying: %s", error)
                self._connections.shed()
                await asyncio.sleep(_PAUSE_S)
                continue
            with suppress(OSError):  # see `serve.listen`
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.take(connection)
            await asyncio.sleep(0)  # however many wait: those that are accepted have their turn

    async def _go_on_listening(self) -> None:
        delay = self._settings.shutdown_delay_s
        log.info("stopping: /readyz says so, and the port is closed in %g s", delay)
        await self._within(delay, lambda: False)

    async def _finish_requests(self) -> None:
        """Let go of idle connections, and of the others when their answer is sent, or in time."""
        open_ones, grace = self.server_state.connections, self._settings.shutdown_grace_s
        for connection in list(open_ones):
            connection.shutdown()
        if self.server_state.tasks:
            log.info("%d requests have %d s to finish", len(self.server_state.tasks), grace)
        await self._within(grace, lambda: not open_ones)

    async def _within(self, seconds: float, done: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        # Uvicorn tells of a second Ctrl-C by `force_exit` alone: there is nothing to wait for.
        while not (done() or self.force_exit):
            if (left := end - time.monotonic()) <= 0:
                break
            await asyncio.sleep(min(_LOOK_EVERY_S, left))


def _refuse(connection: socket.socket) -> None:
    answer = on_the_wire(refusal(503, "the server has all the connections that it can hold"))
    connection.setblocking(False)
    with connection, suppress(OSError):
        connection.send(answer)
        connection.shutdown(socket.SHUT_WR)


def _end_at_once(number: int) -> None:
    """End while models are loading: a thread that loads cannot be stopped, and nothing is open."""
    log.info("stopped while loading")
    for handler in logging.getLogger().handlers:
        handler.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
