"""Runs the application.

What is imported here is little, so that the server answers its probes soon after its start; the
application and the models' packages come in `service.api.gateway`'s thread.
"""

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.api.connections import Phase
from service.api.gateway import Gateway
from service.api.hosts import require_keys_or_loopback
from service.api.server import Server
from service.errors import InvalidInputError
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.engine import Engine

log = logging.getLogger(__name__)

_BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""


def serve(settings: Settings, load: Callable[[], "Engine"]) -> bool:
    """Serve until interrupted; False when the engine could not be loaded.

    Raises `InvalidInputError` where the address cannot be listened on, or would be open to all.
    """
    require_keys_or_loopback(settings)
    listener = _listen(settings.host, settings.port)
    phase, failed = Phase(), False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    def load_to_stay() -> "Engine":
        from service.engine import garbage  # noqa: PLC0415

        engine = load()
        garbage.freeze()
        return engine

    def make() -> FastAPI:
        from service.api.app import create_app  # noqa: PLC0415

        return create_app(settings, load_to_stay, stop, phase=phase)

    server = Server(Gateway(make, stop), settings, phase, listener)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d (docs at /docs)", host, port)
    with listener:
        server.run()
    return not failed


def _listen(host: str, port: int) -> socket.socket:
    """Listen before anything is loaded, so that a taken port is told at once."""
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
            listener.listen(_BACKLOG)
            undo.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there; choose another --port or stop it"
        else:
            reason = error.strerror or "the address cannot be used"
        raise InvalidInputError(f"cannot listen on {host}:{port}: {reason}", "port") from error
    return listener
