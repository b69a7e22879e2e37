"""Runs the application under uvicorn."""

import errno
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.errors import InvalidInputError
from service.pipeline import garbage
from service.pipeline.engine import Engine
from service.settings import Settings

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long a thread that works in Python may keep the event loop waiting: a tenth of the usual
time, as an answer waits so long several times over (each time that the loop wakes up)."""


def serve(settings: Settings, load: Callable[[], Engine]) -> bool:
    """Serve until interrupted; False when the engine could not be loaded.

    Raises `InvalidInputError` where the address cannot be listened on.
    """
    listener = _listen(settings.host, settings.port)
    sys.setswitchinterval(SWITCH_S)
    failed = False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    def load_to_stay() -> Engine:
        engine = load()
        garbage.freeze()
        return engine

    app = create_app(settings, load_to_stay, stop)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config, app)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d (docs at /docs)", host, port)
    with listener:
        server.run(sockets=[listener])
    return not failed


class _Server(uvicorn.Server):
    """Lets the application know that it ends, before it waits for the requests under way."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._state = app.state.server

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.stopping = True
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with ExitStack() as undo:
            # With the protocol named: only then does asyncio turn off Nagle's algorithm, which
            # would hold back the end of an answer until its beginning is acknowledged (40 ms where
            # that is delayed).
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            undo.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            undo.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there; choose another --port or stop it"
        else:
            reason = error.strerror or "the address cannot be used"
        raise InvalidInputError(f"cannot listen on {host}:{port}: {reason}", "port") from error
    return listener
