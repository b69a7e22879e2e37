"""The HTTP server of one process; of several, the one that accepts connections deals them out."""

import asyncio
import logging
import socket
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from service.api.crew import Crew

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long a thread that works in Python may keep the event loop waiting: a tenth of the usual
time, as an answer waits so long several times over (each time that the loop wakes up)."""

_PAUSE_S = 1.0
"""Before the next connection, where there are no more file descriptors, say."""


class Server(uvicorn.Server):
    """Lets the application know that it ends, before it waits for the requests under way."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=10,
            )
        )
        self._state = app.state.server
        self._taking: set[asyncio.Task[None]] = set()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        sys.setswitchinterval(SWITCH_S)
        super().run(sockets)

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that another process, or this one, has accepted."""
        task = asyncio.create_task(self._take(connection))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, connection: socket.socket) -> None:
        config = self.config
        if self._state.stopping:
            connection.close()
            return
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: config.http_protocol_class(  # type: ignore[call-arg]
                    config=config,
                    server_state=self.server_state,
                    app_state=self.lifespan.state,
                ),
                connection,
            )
        except OSError:  # it is gone already
            connection.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.stopping = True
        await super().shutdown(sockets)


class DealingServer(Server):
    """Accepts the connections of a whole crew and lets each worker have one by turns.

    Were all to accept from one socket, the first to wake up would take most, and a client keeps its
    connection for many requests.
    """

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        super().__init__(app)
        self._listener = listener
        self._dealing: asyncio.Task[None] | None = None
        self.crew = Crew(self._state.settings, self.take)
        self._state.crew = self.crew

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listener.listen(self.config.backlog)
        self._listener.setblocking(False)
        self._dealing = asyncio.create_task(self._deal())
        self.crew.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._dealing:
            self._dealing.cancel()
        self._listener.close()
        self.crew.let_go()
        await super().shutdown(sockets)

    async def _deal(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _address = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue  # the client's doing: no reason to let the next one wait
            except OSError as error:
                log.error("cannot accept a connection: %s", error)
                await asyncio.sleep(_PAUSE_S)
                continue
            with suppress(OSError):  # see `serve.listen`
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.crew.hand_over(connection):
                connection.close()
            else:
                self.take(connection)
