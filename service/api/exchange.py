"""One HTTP/1.1 request over one connection between two processes of a server."""

import asyncio
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import h11

_MOST_AT_ONCE = 65_536

Headers = Sequence[tuple[bytes, bytes]]


class Exchange:
    """Sends a request and receives its answer, both at the same time.

    So an answer that comes before the request's end, a refusal, say, is not kept waiting by an
    upload. Nothing is buffered but the piece under way. Every method may raise `OSError`, and
    `h11.ProtocolError` for what is no HTTP.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Of a connection that does not block; it is closed at the end of `with`."""
        self._socket = connection
        self._http = h11.Connection(h11.CLIENT)

    async def begin(self, method: str, target: bytes, headers: Headers) -> None:
        """Send the request's head."""
        request = h11.Request(method=method, target=target, headers=list(headers))
        await self._send(request)

    async def send_body(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._send(h11.Data(data=data))

    async def end_body(self) -> None:
        """Send the request's end."""
        await self._send(h11.EndOfMessage())

    async def receive(self) -> h11.Event:
        """The next event of the answer. Raises `ConnectionError` where the other one has ended."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _MOST_AT_ONCE)
            self._http.receive_data(data)
        if isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed):
            return event
        raise ConnectionError("the other process ended the connection")

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()


async def get(connection: socket.socket, path: bytes) -> bytes:
    """The body of what the other process answers to GET.

    Raises as `Exchange`, and `ConnectionError` for any status but 200.
    """
    with Exchange(connection) as exchange:
        await exchange.begin("GET", path, [(b"host", b"worker"), (b"connection", b"close")])
        await exchange.end_body()
        body = bytearray()
        while not isinstance(event := await exchange.receive(), h11.EndOfMessage):
            if isinstance(event, h11.Response) and event.status_code != 200:
                raise ConnectionError(f"the other process answers {event.status_code}")
            if isinstance(event, h11.Data):
                body += event.data
        return bytes(body)
