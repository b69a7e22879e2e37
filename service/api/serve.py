"""Runs the application under uvicorn."""

import errno
import logging
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.errors import InvalidInputError
from service.pipeline.engine import Engine
from service.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, load: Callable[[], Engine]) -> bool:
    """Serve until interrupted; False when the engine could not be loaded.

    Raises `InvalidInputError` where the address cannot be listened on.
    """
    listener = _listen(settings.host, settings.port)
    failed = False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    app = create_app(settings, load, stop)
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
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there; choose another --port or stop it"
        else:
            reason = error.strerror or "the address cannot be used"
        raise InvalidInputError(f"cannot listen on {host}:{port}: {reason}", "port") from error
    return listener
