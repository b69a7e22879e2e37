"""Answers without the application: to a bad head, and to everything until it is imported."""

import asyncio
import http
import logging
import re
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import unquote

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_table import RETRY_AFTER_S, error_response
from service.api.logs import request_id_for
from service.api.schemas.common import LiveBody, ReadyBody

log = logging.getLogger(__name__)

LIVENESS = "/livez"
READINESS = ("/readyz", "/healthz")

MOST_HEAD_BYTES = 65_536
"""Request line and headers together."""

STARTING = """<!doctype html><html lang="en"><title>Secondpass</title>
<p>The server is starting. The page opens by itself.</p></html>
"""

HEAD_TOO_LARGE = f"request line and headers must have at most {MOST_HEAD_BYTES} bytes"

_WHOLE_URL = re.compile(rb"(?i:https?)://(?:[^/@]*@)?(?P<authority>[^/@]+)(?P<path>/.*)?")


class Gateway:
    """An ASGI application that makes another one in a thread, and answers for it until then."""

    def __init__(self, make: Callable[[], FastAPI], on_failure: Callable[[], None]) -> None:
        """`on_failure` is called if `make` raises."""
        self._make, self._on_failure = make, on_failure
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _early_answer(scope)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as until_the_end:
            await receive()
            opening = asyncio.create_task(self._open(until_the_end))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await opening
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, until_the_end: AsyncExitStack) -> None:
        try:
            app = await asyncio.to_thread(self._make)
            await until_the_end.enter_async_context(app.router.lifespan_context(app))
            self._app = app
        except Exception:
            log.exception("cannot start")
            self._on_failure()


def _early_answer(scope: Scope) -> Response:
    request_id, path = request_id_for(scope), scope["path"].rstrip("/")
    headers = {"X-Request-ID": request_id}
    if path == LIVENESS:
        return JSONResponse(LiveBody().model_dump(), headers=headers)
    if path in READINESS:
        headers["Retry-After"] = str(RETRY_AFTER_S)
        return JSONResponse(not_ready("loading").model_dump(), status_code=503, headers=headers)
    if not path:  # the page
        headers["Refresh"] = str(RETRY_AFTER_S)
        return HTMLResponse(STARTING, status_code=503, headers=headers)
    message = "models and index are still loading"
    return error_response(503, message, request_id, headers=headers)


def not_ready(why: str) -> ReadyBody:
    """The answer of `/readyz` without an engine."""
    return ReadyBody(status="not_ready", checks={"models": why, "index": why})


def fault(scope: Scope) -> tuple[int, str] | None:
    """Status and message for a head that is refused, or None."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    names = {name for name, _ in headers}
    if not scope["http_version"].startswith("1."):
        return 505, "the server speaks HTTP/1.1"
    if b"transfer-encoding" in names:
        # Two ways to find the end of a request let one be smuggled past a proxy.
        if b"content-length" in names:
            return 400, "a request has either Content-Length or Transfer-Encoding, not both"
        if scope["http_version"] == "1.0":
            return 400, "a request in HTTP/1.0 has no Transfer-Encoding"
    size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    if size + sum(len(name) + len(value) for name, value in headers) > MOST_HEAD_BYTES:
        return 431, HEAD_TOO_LARGE
    return None


def with_path_as_target(scope: Scope) -> Scope:
    """The scope with the path of a request target that is a whole URL.

    The URL's authority replaces the `Host` header (RFC 9112, section 3.2.2).
    """
    whole = _WHOLE_URL.fullmatch(scope["raw_path"])
    if whole is None:
        return scope
    raw_path = whole["path"] or b"/"
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "raw_path": raw_path,
        "path": unquote(raw_path.decode("ascii")),
        "headers": [(b"host", whole["authority"]), *headers],
    }


def refusal(status: int, message: str, request_id: str | None = None) -> Response:
    """The error envelope, after which the connection ends; the log gets its id.

    For what never reaches the application: invalid HTTP, too many connections, a late head.
    """
    request_id = request_id or uuid.uuid4().hex
    log.info("a request was refused: %d, %s; %s", status, message, request_id)
    headers = {"X-Request-ID": request_id, "Connection": "close"}
    return error_response(status, message, request_id, headers=headers)


def on_the_wire(response: Response) -> bytes:
    """A response with its head, for a connection without a request under way."""
    head = [f"HTTP/1.1 {response.status_code} {http.HTTPStatus(response.status_code).phrase}"]
    head += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
    return "\r\n".join([*head, "", ""]).encode() + bytes(response.body)
