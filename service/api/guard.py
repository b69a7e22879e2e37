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

from service.api.dependencies import bearer, require_json, require_key, server_state

IDLE_S = 60.0
"""A body of which nothing came for so long is given up: it holds a permit."""


class GuardedRoute(APIRoute):
    """Asks for the key, then for a permit to read or write, and reads the body last.

    The permit is held until the answer is made, or until the route closes its `PermitDep`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler behind the guard."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            state = await server_state(request)
            await require_key(state, await bearer(request))
            if request.method in {"POST", "PUT"}:
                await require_json(request)
            gate = state.reads if request.method == "GET" else state.writes
            with ExitStack() as permit:
                permit.enter_context(gate.permit())
                request.state.permit = permit
                return await handle(Request(request.scope, _in_time(request)))

        return guarded


def _in_time(request: Request) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        try:
            async with asyncio.timeout(IDLE_S):
                return await request.receive()
        except TimeoutError as error:
            raise HTTPException(422, f"body: nothing came for {IDLE_S:.0f} s") from error

    return receive


async def _permit(request: Request) -> ExitStack:
    return cast(ExitStack, request.state.permit)


PermitDep = Annotated[ExitStack, Depends(_permit)]
"""What the request holds; `close` lets another one in."""
