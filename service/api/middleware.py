"""Around every request: an id, its caller, metrics, and a log line without content."""

import asyncio
import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth import HostCheck, Keys, caller_of
from service.api.error_table import error_response, response_to
from service.api.logs import log_request, request_id_for, stage_times
from service.api.metrics import Metrics, known_method
from service.errors import NotReadyError
from service.scheduling.shares import on_behalf_of
from service.settings import Settings

log = logging.getLogger(__name__)

TRACE_ID = "X-Trace-ID"

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,16}")
_MOST_PREFIX_CHARS = 256


class RequestContext:
    """Gives each request an id, measures it, and answers errors that no route has answered.

    The request's work is done on behalf of its caller.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, settings: Settings, keys: Keys) -> None:
        self.app, self.metrics, self._keys = app, metrics, keys
        self._hosts = HostCheck(settings, keys)
        self._root_path = settings.root_path or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, caller = request_id_for(scope), caller_of(scope, self._keys)
        state = scope.setdefault("state", {})
        trace_id = state.get("trace_id") or trace_id_of(scope)
        state.update(request_id=request_id, caller=caller)
        _put_below_prefix(scope, self._root_path)
        status, stages, work = 0, None, None
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, stages
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if trace_id:
                    headers[TRACE_ID] = trace_id
                stages = headers.get("server-timing")
            await send(message)

        try:
            self._hosts.check(scope)
            with on_behalf_of(caller.client, caller.share) as work:
                await self.app(scope, receive, send_with_id)
        except (asyncio.CancelledError, NotReadyError):
            log.warning("request %s was cut: the server is stopping", request_id)
            if not status:
                stopping = "the server is stopping, and the request did not finish in time"
                close = {"Connection": "close"}
                response = error_response(503, stopping, request_id, headers=close)
                await response(scope, receive, send_with_id)
        except Exception as error:
            response = response_to(error, scope)  # this also logs it
            if status:
                raise
            await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - began
            # The route's pattern: a client's path must not make a new metric or enter the log.
            path: str = getattr(scope.get("route"), "path", "unmatched")
            collection = state.get("collection")
            self.metrics.observe_request(scope["method"], path, status, seconds, collection)
            queued = work.waited if work else 0.0
            if queued:
                self.metrics.observe_wait(queued)
            log_request(
                {
                    "request_id": request_id,
                    "trace_id": trace_id,
                    "client": caller.client,
                    "method": known_method(scope["method"]),
                    "route": path,
                    "collection": collection,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                    "queued_ms": round(queued * 1000, 1),
                    "stages_ms": stages and stage_times(stages),
                }
            )


def trace_id_of(scope: Scope) -> str | None:
    """The trace that the header `traceparent` names; None without a valid one."""
    given = Headers(scope=scope).getlist("traceparent")
    found = _TRACEPARENT.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return found["trace"]


def _put_below_prefix(scope: Scope, prefix: str) -> None:
    """Let every address in an answer begin with `X-Forwarded-Prefix`, else with `prefix`.

    A proxy names there what it removed from the path.
    """
    given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
    fits = len(given) <= _MOST_PREFIX_CHARS and _PREFIX.fullmatch(given)
    if fits and not {".", ".."}.intersection(given.split("/")):
        prefix = given
    if prefix:
        scope.update(root_path=prefix, path=prefix + scope["path"])
