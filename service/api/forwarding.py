"""What a reader does with a request: it answers searches, all else goes on to the owner."""

import asyncio
import logging
import re
import socket
from collections.abc import Callable

import h11
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import error_response
from service.api.exchange import Exchange
from service.api.request_id import request_id_for
from service.index.catalog import DEFAULT
from service.pipeline.following import Follower

log = logging.getLogger(__name__)

SEARCH_PATH = re.compile(r"(?:/collections/(?P<name>[^/]+))?/search(?:/batch)?")
_PROBES = frozenset({"/readyz", "/healthz"})
_OWN = frozenset({"/livez", "/docs", "/openapi.json"})

_OF_ONE_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
)
"""Headers that are not passed on (RFC 9110, section 7.6.1)."""


class Forwarding:
    """Stands in front of a reader's application."""

    def __init__(
        self,
        app: ASGIApp,
        follower: Callable[[], Follower | None],
        connect: Callable[[], socket.socket],
    ) -> None:
        """`connect` gives a connection to the owner, or raises `OSError`."""
        self.app, self._follower, self._connect = app, follower, connect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or await self._is_own(scope):
            await self.app(scope, receive, send)
        else:
            await _Passage(scope, receive, send).through(self._connect)

    async def _is_own(self, scope: Scope) -> bool:
        path, follower = scope["path"], self._follower()
        if path == "/metrics":
            return scope.get("client") is None  # the owner asks for ours; a client wants all
        if follower is None or path in _OWN:
            return path in _OWN
        if path in _PROBES:
            # The owner knows more, the other readers' state for one; but not that we cannot read.
            live = follower.serving(DEFAULT)
            return live is not None and await asyncio.to_thread(live.check) != "ok"
        if scope["method"] != "POST":
            return False
        if path == "/similarity":
            return True
        search = SEARCH_PATH.fullmatch(path)
        live = follower.serving(search["name"] or DEFAULT) if search else None
        if live is not None:
            # Here, not in the route: what is found now is open now.
            scope.setdefault("state", {})["collection"] = live
        return live is not None


class _Passage:
    """One request on its way to the owner, and its answer on the way back."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._wanted = asyncio.Event()
        """The owner asks for the body: a client that waits to be asked (`Expect`) goes on then."""
        self._started = False

    async def through(self, connect: Callable[[], socket.socket]) -> None:
        try:
            with Exchange(connect()) as exchange:
                await exchange.begin(self._scope["method"], self._target(), self._headers())
                await self._both_ways(exchange)
        except (OSError, h11.ProtocolError) as error:
            # Not the message: h11 puts a header that it refuses, a key, say, into it.
            log.warning("the owner of the data folder does not answer: %s", type(error).__name__)
            if self._started:
                return  # uvicorn closes the connection: the client sees that the end is missing
            answer = error_response(
                503,
                "the process that writes does not answer; try again",
                request_id := request_id_for(self._scope),
                headers={"Retry-After": "2", "X-Request-ID": request_id},
            )
            await answer(self._scope, self._receive, self._send)

    async def _both_ways(self, exchange: Exchange) -> None:
        """Until the answer is whole, or the client gone: the owner sees the connection end."""
        up = asyncio.create_task(self._request(exchange))
        down = asyncio.create_task(self._answer(exchange))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if down.done():
                down.result()
            else:
                up.result()
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _request(self, exchange: Exchange) -> None:
        """Send the body as it comes; ends when the client is gone."""
        await self._wanted.wait()
        sending = True
        while (message := await self._receive())["type"] == "http.request":
            try:
                if sending and message.get("body"):
                    await exchange.send_body(message["body"])
                if sending and not message.get("more_body"):
                    await exchange.end_body()
                    sending = False
            except (OSError, h11.LocalProtocolError):
                sending = False  # the owner has heard enough; its answer says why

    async def _answer(self, exchange: Exchange) -> None:
        while True:
            event = await exchange.receive()
            self._wanted.set()
            if isinstance(event, h11.Response):
                headers = [
                    (name, value)
                    for name, value in event.headers
                    if name not in _OF_ONE_CONNECTION | {b"date", b"transfer-encoding"}
                ]
                self._started = True
                await self._send(
                    {"type": "http.response.start", "status": event.status_code, "headers": headers}
                )
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                more = isinstance(event, h11.Data)
                body = bytes(event.data) if isinstance(event, h11.Data) else b""
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
                if not more:
                    return

    def _target(self) -> bytes:
        query = self._scope["query_string"]
        path: bytes = self._scope["raw_path"]
        return path + b"?" + query if query else path

    def _headers(self) -> list[tuple[bytes, bytes]]:
        given = self._scope["headers"]
        names = {name for name, _ in given}
        if b"expect" not in names:
            self._wanted.set()
        passed = [(name, value) for name, value in given if name not in _OF_ONE_CONNECTION]
        if b"host" not in names:  # of HTTP/1.0
            passed.append((b"host", b""))
        return [*passed, (b"connection", b"close")]
