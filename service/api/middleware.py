"""What happens around every request: an id, a limit, a count, a log line without any content."""

import asyncio
import logging
import re
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.clients import client_of
from service.api.content_encoding import ACCEPTED, Inflated, codings
from service.api.errors import INTERNAL_MESSAGE, error_response
from service.api.metrics import Metrics, known_method
from service.api.paths import own_path
from service.api.request_id import request_id_for
from service.errors import NotReadyError
from service.pipeline.clients import on_behalf_of

log = logging.getLogger(__name__)

_RESTORE = re.compile(r"/collections/[^/]+/restore")
_BULK = re.compile(r"(/collections/[^/]+)?/documents/bulk")
_DOCUMENTS = re.compile(r"(/collections/[^/]+)?/documents(/|$)")


class RequestContext:
    """Gives each request an id (the caller's, where it is well formed) and measures it.

    What the request does is done on behalf of its client.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, key_hashes: Collection[str] = ()) -> None:
        self.app, self.metrics, self._key_hashes = app, metrics, key_hashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_for(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            with on_behalf_of(client_of(scope, self._key_hashes)):
                await self.app(scope, receive, send_with_id)
        except (asyncio.CancelledError, NotReadyError):
            # The server ends and waits no longer.
            log.warning("request %s was cut: the server stops", request_id)
            if not status:
                headers = {"Retry-After": "2", "Connection": "close"}
                stopping = "the server stops, and the request had no time to finish"
                response = error_response(503, stopping, request_id, headers=headers)
                await response(scope, receive, send_with_id)
        except Exception:
            # The last fence: the log has the unforeseen error, the client only its id.
            log.exception("request %s failed", request_id)
            if status:
                raise
            response = error_response(500, INTERNAL_MESSAGE, request_id)
            await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - began
            path = _route_path(scope)
            self.metrics.observe_request(scope["method"], path, status, seconds)
            method = known_method(scope["method"])
            log.info("%s %s %d %.1f ms %s", method, path, status, seconds * 1000, request_id)


class BodyLimit:
    """Refuses bodies above `max_bytes`, with the envelope (the framework's own limit has none).

    By their declared length before anything is read, and by what arrives where none is declared.
    A gzip body is inflated, within the same limit; one of another coding is refused.
    What brings documents may have `max_documents_bytes`, a bulk upload `max_bulk_bytes`, a snapshot
    `max_snapshot_bytes`.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_documents_bytes: int,
        max_bulk_bytes: int,
        max_snapshot_bytes: int,
    ) -> None:
        self.app, self.max_bytes, self.max_documents_bytes = app, max_bytes, max_documents_bytes
        self.max_bulk_bytes, self.max_snapshot_bytes = max_bulk_bytes, max_snapshot_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self._most(scope["method"], own_path(scope))
        refusal = f"the body must have at most {most} bytes"
        headers = Headers(scope=scope)
        declared, coded = headers.get("content-length", ""), codings(headers)
        request_id = scope["state"]["request_id"]
        if declared.isdecimal() and int(declared) > most:
            await error_response(413, refusal, request_id)(scope, receive, send)
            return
        if coded and (len(coded) > 1 or coded[0] not in ACCEPTED):
            refused = "the body may be compressed with gzip only: content-encoding: gzip"
            response = error_response(415, refused, request_id, headers={"Accept-Encoding": "gzip"})
            await response(scope, receive, send)
            return
        arrived = 0

        async def receive_within_limit() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most:
                raise HTTPException(413, refusal)
            return message

        bounded = Inflated(receive_within_limit, most).receive if coded else receive_within_limit
        await self.app(scope, bounded, send)

    def _most(self, method: str, path: str) -> int:
        if method == "POST" and _BULK.fullmatch(path):
            return self.max_bulk_bytes
        if method == "POST" and _RESTORE.fullmatch(path):
            return self.max_snapshot_bytes
        return self.max_documents_bytes if _DOCUMENTS.match(path) else self.max_bytes


def _route_path(scope: Scope) -> str:
    """The route's own path, so that a made-up path cannot make a new metric or a log line."""
    path: str = getattr(scope.get("route"), "path", "unmatched")
    return path
