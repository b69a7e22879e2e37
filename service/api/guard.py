"""Who may send a body at all: looked at before any of it is read.

FastAPI reads and parses a request's body before it asks the route's dependencies.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Annotated, Any, cast

from fastapi import Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from service import strict_json
from service.api.dependencies import bearer, require_json, require_key, server_state
from service.api.state import ServerState
from service.pipeline.gate import Deadline

IDLE_S = 60.0
"""A body of which nothing came for so long is given up: it may hold a permit."""

WHOLE_S = 600.0
"""So is one that is not whole by then: 64 MiB need 110 kB a second."""


_LARGE = 1 << 18
"""From so many bytes on a body is parsed in a thread."""


class GuardedRoute(APIRoute):
    """Asks for the key, then for the body's kind, and reads the body last, in time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler behind the guard."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            state = await server_state(request)
            await require_key(state, await bearer(request))
            if request.method in {"POST", "PUT"}:
                await require_json(request)
            with self.admit(request, state):
                return await handle(_Parsed(request.scope, _in_time(request)))

        return guarded

    def admit(self, request: Request, state: ServerState) -> ExitStack:  # noqa: ARG002
        """What is held until the answer is made: nothing here."""
        return ExitStack()


class PermitRoute(GuardedRoute):
    """Asks for a permit to read or write as well, before it reads the body.

    The permit is held until the answer is made, or until the route closes its `PermitDep`.
    """

    def admit(self, request: Request, state: ServerState) -> ExitStack:
        """The permit; raises `OverloadedError`."""
        gate = state.reads if request.method == "GET" else state.writes
        permit = ExitStack()
        permit.enter_context(gate.permit())
        request.state.permit = permit
        return permit


class _Parsed(Request):
    """Parses a large body beside the event loop, where searches get their turns."""

    async def json(self) -> Any:
        """As starlette's own; raises `DuplicateKeyError` besides."""
        body = await self.body()
        if len(body) < _LARGE:
            return strict_json.loads(body)
        return await asyncio.to_thread(strict_json.loads, body)


def _in_time(request: Request) -> Callable[[], Coroutine[Any, Any, Message]]:
    whole = Deadline(WHOLE_S)

    async def receive() -> Message:
        left = whole.left()
        try:
            async with asyncio.timeout(min(IDLE_S, left)):
                return await request.receive()
        except TimeoutError as error:
            late = f"nothing came for {IDLE_S:.0f} s"
            if left < IDLE_S:
                late = f"it was not whole after {WHOLE_S:.0f} s"
            raise HTTPException(422, f"body: {late}") from error

    return receive


async def _permit(request: Request) -> ExitStack:
    return cast(ExitStack, request.state.permit)


PermitDep = Annotated[ExitStack, Depends(_permit)]
"""What the request holds; `close` lets another one in."""
