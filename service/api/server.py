"""The HTTP server: uvicorn's, with our own way to accept connections and to stop.

Imports little, so that the server answers its probes soon after its start; the application and the
models' packages are imported in `service.api.gateway`'s thread.
"""

import asyncio
import errno
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from service.api.auth import require_keys_or_loopback
from service.api.connection import Connection
from service.api.connections import Connections, Phase, Rarely
from service.api.gateway import MOST_HEAD_BYTES, Gateway, on_the_wire, refusal
from service.errors import InvalidInputError
from service.extras import install_command
from service.memory import freeze_objects
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.engine import Engine

log = logging.getLogger(__name__)

_BACKLOG = 2048
"""Connections that the system queues until they are accepted."""

SWITCH_S = 0.0005
"""How long a thread that runs Python code may keep the event loop waiting: a tenth of the default,
because an answer waits this long each time that the loop wakes up."""

_PAUSE_S = 1.0
"""Between two tries to accept, when no file descriptors are left, for example."""

_LAST_S = 1
"""Time for requests that are cut to say so, before their tasks are cancelled."""

_LOOK_EVERY_S = 0.1


def serve(settings: Settings, load: Callable[[], "Engine"]) -> bool:
    """Serve until interrupted; False if the engine could not be loaded.

    Raises `InvalidInputError` if the address cannot be used, or would be open to everyone.
    """
    require_keys_or_loopback(settings)
    if settings.traces:
        _require_otel()
    listener = _listen(settings.host, settings.port)
    phase, failed = Phase(), False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    def load_to_stay() -> "Engine":
        engine = load()
        freeze_objects()
        return engine

    def make() -> FastAPI:
        from service.api.app import create_app  # noqa: PLC0415

        return create_app(settings, load_to_stay, stop, phase=phase)

    server = Server(Gateway(make, stop), settings, phase, listener)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d (API at /docs)", host, port)
    with listener:
        server.run()
    return not failed


def _require_otel() -> None:
    try:
        version("opentelemetry-exporter-otlp-proto-http")
    except PackageNotFoundError as error:
        need = f"traces need more packages: {install_command('otel')}"
        raise InvalidInputError(need, "traces") from error


def _listen(host: str, port: int) -> socket.socket:
    """Listen before anything is loaded, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with ExitStack() as undo:
            # asyncio turns off Nagle's algorithm only if the protocol is named. The algorithm holds
            # back the end of an answer until its beginning is acknowledged, up to 40 ms later.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            undo.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
            undo.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there; choose another --port or stop it"
        else:
            reason = error.strerror or "the address cannot be used"
        raise InvalidInputError(f"cannot listen on {host}:{port}: {reason}", "port") from error
    return listener


class Server(uvicorn.Server):
    """Uvicorn's server with our connections and our way to accept them and to stop."""

    def __init__(
        self, app: ASGIApp, settings: Settings, phase: Phase, listener: socket.socket
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
        self._connections = Connections(settings.max_connections, settings.header_timeout_s, phase)
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
        task = asyncio.create_task(self._take(connection, Connection(self, self._connections)))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, connection: socket.socket, protocol: Connection) -> None:
        connection.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # the client is gone
            self._connections.forget(protocol)
            connection.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _address = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue  # the client gave up
            except OSError as error:
                if self._tell_accept():
                    log.error("cannot accept connections; still trying: %s", error)
                self._connections.shed()
                await asyncio.sleep(_PAUSE_S)
                continue
            with suppress(OSError):  # see `_listen`
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.take(connection)
            await asyncio.sleep(0)  # accepted connections get their turn

    async def _go_on_listening(self) -> None:
        delay = self._settings.shutdown_delay_s
        log.info("stopping: /readyz fails from now on, and the port closes in %g s", delay)
        await self._within(delay, lambda: False)

    async def _finish_requests(self) -> None:
        """Close idle connections at once, and the others after their answer or the grace."""
        open_ones, grace = self.server_state.connections, self._settings.shutdown_grace_s
        for connection in list(open_ones):
            connection.shutdown()
        if self.server_state.tasks:
            log.info("%d requests have %d s to finish", len(self.server_state.tasks), grace)
        await self._within(grace, lambda: not open_ones)

    async def _within(self, seconds: float, done: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        # A second Ctrl-C sets `force_exit`: do not wait any longer.
        while not (done() or self.force_exit):
            if (left := end - time.monotonic()) <= 0:
                break
            await asyncio.sleep(min(_LOOK_EVERY_S, left))


def _refuse(connection: socket.socket) -> None:
    answer = on_the_wire(refusal(503, "the server has reached its limit of connections"))
    connection.setblocking(False)
    with connection, suppress(OSError):
        connection.send(answer)
        connection.shutdown(socket.SHUT_WR)


def _end_at_once(number: int) -> None:
    """End while models load: the loading thread cannot be stopped, and nothing is open yet."""
    log.info("stopped while loading")
    for handler in logging.getLogger().handlers:
        handler.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
