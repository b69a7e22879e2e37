"""Runs the application, in as many processes as the settings say."""

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack

from service.api.app import create_app
from service.api.server import DealingServer, Server
from service.errors import InvalidInputError
from service.pipeline import garbage
from service.pipeline.engine import Engine
from service.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, load: Callable[[], Engine]) -> bool:
    """Serve until interrupted; False when the engine could not be loaded.

    Raises `InvalidInputError` where the address cannot be listened on.
    """
    if settings.workers > 1 and not hasattr(socket, "send_fds"):
        raise InvalidInputError("several workers need a Unix system", "workers")
    listener = _listen(settings.host, settings.port)
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
    several = settings.workers > 1
    server = DealingServer(app, listener) if several else Server(app)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d (docs at /docs)", host, port)
    with listener:
        server.run(sockets=[] if several else [listener])
    return not failed


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
