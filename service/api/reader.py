"""A process that answers searches beside the one that owns the data folder.

Its standard input is the socket to the owner: first a line of JSON with its settings, then
connections. When that one ends, so does this one. `service.api.crew` starts it.
"""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable

from fastapi import FastAPI

from service.api.app import create_app
from service.api.channel import Channel
from service.api.forwarding import Forwarding
from service.api.phase import Phase
from service.api.server import Server
from service.pipeline import garbage
from service.pipeline.engine import Engine
from service.pipeline.following import Follower, open_following
from service.settings import Settings

_END_S = 15.0
"""Longest time from the owner's end to this one's: nobody else would kill it."""


def main() -> None:
    """Serve until the owner ends, or says so; exits with 1 where nothing can be loaded."""
    end = socket.socket(fileno=sys.stdin.fileno())
    with end.makefile("rb", buffering=0) as file:
        line = file.readline()  # not a byte more: connections come with what follows
    if not line:
        return  # the owner ended before it was ready
    told = json.loads(line)
    settings = Settings(**told["settings"])
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)s worker {told['worker']} %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    if not _Reader(settings, Channel(end)).run():
        sys.exit(1)


class _Reader:
    def __init__(self, settings: Settings, channel: Channel) -> None:
        self._settings, self._channel = settings, channel
        self._follower: Follower | None = None
        self._failed = False
        phase = Phase()
        app = create_app(settings, self._load, self._fail, channel.tell_ready, phase)
        app.add_middleware(Forwarding, follower=lambda: self._follower, connect=channel.connect)
        self._server = _ReaderServer(app, settings, phase, channel, self._end)

    def run(self) -> bool:
        """Serve until the end; False when nothing could be loaded."""
        self._server.run(sockets=[])
        return not self._failed

    def _load(self) -> Engine:
        self._follower = open_following(self._settings)
        garbage.freeze()
        return self._follower.engine

    def _fail(self) -> None:
        self._failed = True
        self._server.should_exit = True

    def _end(self) -> None:
        self._server.should_exit = True
        last = threading.Timer(_END_S, os._exit, [1])
        last.daemon = True
        last.start()


class _ReaderServer(Server):
    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        phase: Phase,
        channel: Channel,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(app, settings, phase)
        self._channel, self._on_end = channel, on_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._channel.listen(self.take, self._on_end)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._channel.let_go()  # no more connections, please
        await super().shutdown(sockets)
