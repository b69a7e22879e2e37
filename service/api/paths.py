"""Which route a request means: slashes at the end of its path, `HEAD`, the prefix of a proxy."""

import asyncio
import re
from collections.abc import Sequence
from functools import cached_property

from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,16}")
_MOST_PREFIX_CHARS = 256


class RouteTable:
    """The methods of every path."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """`routes` may grow until the first request."""
        self._routes = routes

    def methods(self, path: str) -> frozenset[str]:
        """All that some route answers at this path; none where there is no such path."""
        found = {name for at, names in self._patterns if at.match(path) for name in names}
        return frozenset(found | {"HEAD"} if "GET" in found else found)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], frozenset[str]]]:
        routes = iter_route_contexts(self._routes)
        return [(route.path_regex, frozenset(route.methods or ())) for route in routes]


class Paths:
    """Rewrites what the routes get to see.

    A slash at the end of a path means nothing, except in a document's id: no route redirects.
    `HEAD` is answered as `GET`, without the body. `X-Forwarded-Prefix`, with which a proxy tells
    what it took from the path, stands before every address that an answer names.
    """

    def __init__(self, app: ASGIApp, table: RouteTable) -> None:
        self.app, self._table = app, table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        prefix = _prefix(scope)
        inner = {
            **scope,
            "method": method,
            "path": prefix + self._path(method, scope["path"]),
            "root_path": prefix or scope.get("root_path", ""),
        }
        try:
            if is_head:
                answer = _Head(receive, send)
                await self.app(inner, answer.receive, answer.send)
            else:
                await self.app(inner, receive, send)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]  # for metrics and the log

    def _path(self, method: str, path: str) -> str:
        if not path.endswith("/") or method in self._table.methods(path):
            return path
        bare = path.rstrip("/") or "/"
        return bare if self._table.methods(bare) else path


def own_path(scope: Scope) -> str:
    """The path as the routes have it, without the prefix of a proxy."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class _Head:
    """Sends the beginning of an answer; what it would stream is not made, as if the client left."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        """What the client sends, until the answer is over."""
        receiving = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if self._over.is_set() else receiving.result()
        finally:
            receiving.cancel()
            ending.cancel()

    async def send(self, message: Message) -> None:
        """Pass on the status and headers, and an empty body."""
        if message["type"] != "http.response.body":
            await self._send(message)
        elif not self._over.is_set():
            self._over.set()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _prefix(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
    fits = len(given) <= _MOST_PREFIX_CHARS and _PREFIX.fullmatch(given)
    dots = {".", ".."}.intersection(given.split("/"))
    return given if fits and not dots else ""
