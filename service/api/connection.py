"""A client's connection: uvicorn's, with time limits and with every error in the envelope."""

import asyncio
import sys
import time
from contextlib import suppress
from typing import Literal

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.api.connections import Connections
from service.api.gateway import (
    HEAD_TOO_LARGE,
    fault,
    on_the_wire,
    refusal,
    with_path_as_target,
)
from service.api.logs import request_id_for
from service.scheduling.gate import LEAST_BYTES, WINDOW_S

SEND_S = 60.0
"""A client that reads fewer than `LEAST_BYTES` of its answer in this time is disconnected."""

LINGER_S = 2.0
"""How long the rest of a refused body is read and thrown away. Closing with unread input resets the
connection, and the client might lose the answer."""

SMALL_BODY = 65_536
"""A refused body of at most this length is read to its end, to keep the connection."""


class Connection(H11Protocol):
    """HTTP/1.1 with one client."""

    def __init__(self, server: uvicorn.Server, connections: Connections) -> None:
        super().__init__(server.config, server.server_state, server.lifespan.state)
        self._connections = connections
        self._application: ASGIApp = self.app
        self.app = self._answer
        self.access_log = False  # it would quote the method and the target
        self._timers: dict[Literal["head", "reader"], asyncio.TimerHandle] = {}
        self._unsent = self._seen_unsent = 0
        """`unsent` when the wait for the reader began, and at the last `waits_since`."""
        self._heard = time.monotonic()
        """Until when the client has kept up with the pace of `service.scheduling.gate`."""
        self._half_closed = False
        self._ending = False
        """An error was sent: further input is thrown away."""
        connections.open.add(self)

    # Called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            self._heard = time.monotonic()
        self._count_progress(len(data))
        if self._ending:
            return
        super().data_received(data)
        self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether to stay open: the client may have sent everything and wait for answers."""
        if self._ending or self._is_idle or self.cycle.more_body:
            return False
        self._half_closed = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers("head", "reader")
        self._connections.forget(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()
        self._connections.bound_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._heard = time.monotonic()
        self._stop_timers("reader")
        self._watch_head()

    # Called by the server

    def shutdown(self) -> None:
        if self._ending:
            self.drop()
        else:
            super().shutdown()

    def drop(self) -> None:
        """Close at once, without sending the rest."""
        self._connections.idle.pop(self, None)
        self._ending = True
        self.transport.abort()

    def waits_since(self) -> float | None:
        """Since when the client has had to send or read something; None while the server works."""
        if self._ending or self.transport is None:
            return None
        if self.flow.write_paused:
            self._count_progress(max(0, self._seen_unsent - self.unsent()))
            self._seen_unsent = self.unsent()
            return self._heard
        sends = self._is_idle or (self.cycle.more_body and not self.flow.read_paused)
        return self._heard if sends else None

    def unsent(self) -> int:
        """Bytes of answers that the client has not read yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    # Hooks of uvicorn's protocol

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_idle:
            return  # the next request was there already
        if self._half_closed:
            self.transport.close()
        if self.transport.is_closing() and self.unsent():
            self._await_reader()
        self._watch_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it never varies
        """Answer invalid HTTP."""
        error = sys.exception()
        status, message = 400, "the request is not valid HTTP"
        if isinstance(error, h11.RemoteProtocolError):
            status = error.error_status_hint
            if status == 431:
                message = HEAD_TOO_LARGE
            elif "Host" in str(error):
                message = "a request in HTTP/1.1 has one Host header"
            elif status == 501:
                message = "the only supported Transfer-Encoding is chunked"
        self._refuse(status, message)

    def _should_upgrade(self) -> bool:
        return False

    # Waiting for the client

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits_for_head(self) -> bool:
        has_read = self._is_idle and not self.flow.write_paused
        return has_read and not self._ending and not self.transport.is_closing()

    def _count_progress(self, count: int) -> None:
        """Count bytes that the client sent or read: a byte now and then is not enough."""
        self._heard = min(time.monotonic(), self._heard + count * WINDOW_S / LEAST_BYTES)

    def _watch_head(self) -> None:
        """Start or stop the wait for a request's head."""
        idle = self._connections.idle
        if not self._waits_for_head:
            idle.pop(self, None)
            self._stop_timers("head")
            return
        idle.setdefault(self)
        if "head" not in self._timers and self.timeout_keep_alive_task is None:
            seconds = self._connections.header_timeout_s
            self._timers["head"] = self.loop.call_later(seconds, self._refuse_late_head)

    def _refuse_late_head(self) -> None:
        begun, _closed = self.conn.trailing_data
        if begun:
            seconds = self._connections.header_timeout_s
            self._refuse(408, f"request line and headers must arrive within {seconds:g} s")
        else:
            self.drop()

    def _await_reader(self) -> None:
        """Disconnect the client unless it goes on reading in time."""
        self._unsent = self._seen_unsent = self.unsent()
        self._heard = time.monotonic()
        self._stop_timers("reader")
        self._timers["reader"] = self.loop.call_later(SEND_S, self._check_reader)

    def _check_reader(self) -> None:
        if self._unsent - self.unsent() >= LEAST_BYTES:
            self._await_reader()
        else:
            self.drop()

    def _stop_timers(self, *names: Literal["head", "reader"]) -> None:
        for name in names:
            if timer := self._timers.pop(name, None):
                timer.cancel()

    # Answers

    def _refuse(self, status: int, message: str) -> None:
        """Answer with an error and close the connection, so that the answer still arrives."""
        self._stop_timers("head", "reader")
        self._ending = True
        self._connections.idle.pop(self, None)
        if not self._is_idle:
            # The body is invalid HTTP: tell the application that its client is gone.
            begun = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if begun:
                self.transport.abort()
                return
        self.transport.write(on_the_wire(refusal(status, message)))
        with suppress(OSError):
            self.transport.write_eof()
        self._timers["reader"] = self.loop.call_later(LINGER_S, self.drop)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; then close the connection, or keep it if the body was read."""
        cycle = self.cycle
        found = fault(scope)
        app: ASGIApp = refusal(*found, request_id_for(scope)) if found else self._application
        is_sending, unread = True, False

        async def send_on(message: Message) -> None:
            nonlocal is_sending, unread
            if message["type"] == "http.response.start":
                is_sending = not cycle.waiting_for_100_continue
                headers = list(message.get("headers", []))
                ends = self._ends_after(cycle, message["status"], is_sending=is_sending)
                if ends and CLOSE_HEADER not in headers:
                    message = {**message, "headers": [*headers, CLOSE_HEADER]}
            elif cycle.more_body and not message.get("more_body"):
                unread = True  # send the end of the answer after reading the rest of the body
                message = {**message, "more_body": True}
            await send(message)

        await app(with_path_as_target(scope), receive, send_on)
        if unread:
            if is_sending and not self._connections.phase.cut:
                await _throw_away(cycle, receive)
            cycle.keep_alive = cycle.keep_alive and not cycle.more_body
            await send({"type": "http.response.body", "body": b""})

    def _ends_after(self, cycle: RequestResponseCycle, status: int, *, is_sending: bool) -> bool:
        if self._connections.phase.stopping or self._half_closed:
            return True
        if not cycle.more_body:
            return False
        lengths = [value for name, value in cycle.scope["headers"] if name == b"content-length"]
        return not is_sending or status == 413 or not lengths or int(lengths[0]) > SMALL_BODY


async def _throw_away(cycle: RequestResponseCycle, receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while cycle.more_body and not cycle.disconnected:
                await receive()
