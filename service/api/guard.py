"""Who may send a body at all: looked at before any of it is read.

FastAPI reads and parses a request's body before it asks the route's dependencies.
"""

import asyncio
from contextlib import ExitStack
from typing import Annotated, Any, cast

from fastapi import Depends, HTTPException, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service import strict_json
from service.api.dependencies import require_json, server_state
from service.api.state import MIB, ServerState
from service.api.strict_route import Handler, StrictRoute
from service.pipeline.gate import Deadline, Gate
from service.pipeline.pace import Pace

WHOLE_S = 600.0
"""A body that is not whole by then is given up: 64 MiB need 110 kB a second."""

FREE_BYTES = 1 << 16
"""Free of charge in each body, so that a small body never waits for large ones."""

_LARGE = 1 << 18
"""A body of this size or more is parsed in a thread."""


class GuardedRoute(StrictRoute):
    """Asks for the key, then for the body's kind, and reads the body in time.

    Only when the body is whole does the request take a permit: what a client has not sent yet, or
    sends slowly, keeps no other request waiting.
    """

    async def answer(self, request: Request, handle: Handler) -> Response:
        """The handler's answer, once the body is whole."""
        state = await server_state(request)
        gate = self.gate(request, state)
        if gate:
            gate.check()  # a body that would be refused is not read
        with ExitStack() as held:
            parsed = request
            if request.method in {"POST", "PUT"}:
                await require_json(request)
                body = _Arriving(request, held, state.bodies)
                parsed = _Parsed(request.scope, body.receive)
                await _whole(parsed)
            if gate:
                permit = held.enter_context(ExitStack())
                permit.enter_context(gate.permit())
                request.state.permit = permit
            return await handle(parsed)

    def gate(self, request: Request, state: ServerState) -> Gate | None:  # noqa: ARG002
        """Whose permit the request holds until it is answered: none here."""
        return None


class PermitRoute(GuardedRoute):
    """Takes a permit to read or write as well.

    The permit is held until the answer is made, or until the route closes its `PermitDep`.
    """

    def gate(self, request: Request, state: ServerState) -> Gate:
        """That of reads or of writes."""
        return state.reads if request.method == "GET" else state.writes


class _Parsed(Request):
    """Parses a large body beside the event loop, where searches get their turns."""

    async def json(self) -> Any:
        """As starlette's own; raises `DuplicateKeyError` besides."""
        body = await self.body()
        if len(body) < _LARGE:
            return strict_json.loads(body)
        return await asyncio.to_thread(strict_json.loads, body)


class _Arriving:
    """A body on its way: in time, and no more of it in memory than its client's share."""

    def __init__(self, request: Request, held: ExitStack, bodies: Gate) -> None:
        """`held` gets the permits for each MiB above `FREE_BYTES`, which `bodies` has."""
        self._request, self._held, self._bodies = request, held, bodies
        self._whole, self._pace = Deadline(WHOLE_S), Pace()
        self._came, self._counted = 0, FREE_BYTES

    async def receive(self) -> Message:
        """The next part. Raises `OverloadedError` or `InvalidInputError`."""
        try:
            async with asyncio.timeout(self._whole.left()):
                message = await self._pace.wait_for(self._request.receive)
        except TimeoutError as error:
            late = f"it was not whole after {WHOLE_S:.0f} s"
            raise HTTPException(422, f"body: {late}") from error
        size = len(message.get("body", b""))
        self._pace.heard(size)
        self._came += size
        while self._came > self._counted:
            self._held.enter_context(self._bodies.permit())
            self._counted += MIB
        return message


async def _whole(request: Request) -> None:
    try:
        await request.body()
    except ClientDisconnect as error:
        raise HTTPException(422, "body: it ended before it was whole") from error


async def _permit(request: Request) -> ExitStack:
    return cast(ExitStack, request.state.permit)


PermitDep = Annotated[ExitStack, Depends(_permit)]
"""What the request holds; `close` lets another one in."""
