"""A request's body: what a route takes, how much of it, in which time, and how it is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service import strict_json
from service.api.content_encoding import ACCEPTED, Inflated, codings
from service.api.state import MIB
from service.errors import InvalidInputError
from service.scheduling.gate import Deadline, Gate, Pace

WHOLE_S = 600.0
"""A body that is not whole by then is given up: 64 MiB need 110 kB a second."""

FREE_BYTES = 1 << 16
"""Free of charge in each body, so that a small body never waits for large ones."""

_LARGE = 1 << 18
"""A body of this size or more is parsed in a thread."""


@dataclass(frozen=True, slots=True)
class Body:
    """The body that a route takes; by default, JSON of an ordinary size."""

    limit: Literal[
        "max_body_bytes", "max_documents_body_bytes", "max_bulk_bytes", "max_snapshot_bytes"
    ] = "max_body_bytes"
    """The setting that bounds it."""
    name: str = "JSON"
    media_types: tuple[str, ...] = ("application/json", "application/*+json")
    streamed: bool = False
    """The endpoint reads it piece by piece."""

    def require_type(self, request: Request) -> None:
        """Refuse a body that is not declared to be of such a type."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not any(fnmatchcase(kind, one) for one in self.media_types):
            wanted = f"the body must be {self.name}: content-type: {self.media_types[0]}"
            raise HTTPException(415, wanted)


def bounded(request: Request, most: int) -> Receive:
    """The request's body as it comes, of at most `most` bytes, inflated where it is gzip.

    Raises `HTTPException`: 413 by the declared length before anything is read, or by what arrives;
    415 for another coding than gzip.
    """
    refusal = f"the body must have at most {most} bytes"
    declared, coded = request.headers.get("content-length", ""), codings(request.headers)
    if declared.isdecimal() and int(declared) > most:
        raise HTTPException(413, refusal)
    if coded and (len(coded) > 1 or coded[0] not in ACCEPTED):
        refused = "the body may be compressed with gzip only: content-encoding: gzip"
        raise HTTPException(415, refused, {"Accept-Encoding": "gzip"})
    arrived = 0

    async def receive() -> Message:
        nonlocal arrived
        message = await request.receive()
        arrived += len(message.get("body", b""))
        if arrived > most:
            raise HTTPException(413, refusal)
        return message

    return Inflated(receive, most).receive if coded else receive


async def whole(request: Request, held: ExitStack, bodies: Gate) -> Request:
    """The request once its body is there: in time, and within its client's share of memory.

    `held` gets the permits for each MiB above `FREE_BYTES`, which `bodies` has. Raises
    `OverloadedError`, `InvalidInputError` or `HTTPException`.
    """
    deadline, pace = Deadline(WHOLE_S), Pace()
    came, counted = 0, FREE_BYTES

    async def receive() -> Message:
        nonlocal came, counted
        try:
            async with asyncio.timeout(deadline.left()):
                message = await pace.wait_for(request.receive)
        except TimeoutError as error:
            late = f"it was not whole after {WHOLE_S:.0f} s"
            raise HTTPException(422, f"body: {late}") from error
        size = len(message.get("body", b""))
        pace.heard(size)
        came += size
        while came > counted:
            held.enter_context(bodies.permit())
            counted += MIB
        return message

    parsed = _Parsed(request.scope, receive)
    try:
        await parsed.body()
    except ClientDisconnect as error:
        raise HTTPException(422, "body: it ended before it was whole") from error
    return parsed


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """An upload as it comes. Raises `InvalidInputError` where its client hangs up."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as error:
        raise InvalidInputError("the upload ended before it was whole", "body") from error


class _Parsed(Request):
    """Parses a large body beside the event loop, where searches get their turns."""

    async def json(self) -> Any:
        """As starlette's own; raises `DuplicateKeyError` besides."""
        body = await self.body()
        if len(body) < _LARGE:
            return strict_json.loads(body)
        return await asyncio.to_thread(strict_json.loads, body)
