"""A request's body: the types and the size that a route takes, the time limit, and how it is read.

A gzip body is inflated as it arrives; every other content coding is refused. The inflated size is
bounded, and large pieces are inflated in a thread.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service import strict_json
from service.api.state import MIB
from service.errors import InvalidInputError
from service.scheduling.gate import Deadline, Gate, Pace

WHOLE_S = 600.0
"""Time for a body to arrive; a body of 64 MiB needs 110 kB a second."""

FREE_BYTES = 1 << 16
"""Bytes of each body that need no permit, so that a small body never waits for large ones."""

MOST_RATIO = 100
"""Times that a body of more than a MiB may grow. Text grows five to twenty times."""

_LARGE = 1 << 18
"""A body of this size or more is parsed in a thread."""
_FIRST_PIECE = 1 << 16
"""Bytes inflated on the event loop: enough for most requests, and done in a moment."""
_PIECE = 1 << 18
"""Bytes inflated in a thread at a time."""
_MEMBERS, _BYTES_PER_MEMBER = 100, 1024
"""A gzip stream may have this many members, and one more for each `_BYTES_PER_MEMBER` bytes."""
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Body:
    """The body that a route takes; by default, JSON of ordinary size."""

    limit: Literal[
        "max_body_bytes", "max_documents_body_bytes", "max_bulk_bytes", "max_snapshot_bytes"
    ] = "max_body_bytes"
    """The setting that limits its size."""
    name: str = "JSON"
    media_types: tuple[str, ...] = ("application/json", "application/*+json")
    streamed: bool = False
    """Whether the endpoint reads it piece by piece."""

    def require_type(self, request: Request) -> None:
        """Refuse a body of another declared type."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not any(fnmatchcase(kind, accepted) for accepted in self.media_types):
            wanted = f"the body must be {self.name}: content-type: {self.media_types[0]}"
            raise HTTPException(415, wanted)


def bounded(request: Request, most: int) -> Receive:
    """The request's body as it arrives, inflated if it is gzip.

    Raises `HTTPException`: 413 if the declared length or the body is above `most` bytes, 415 for
    any coding but gzip.
    """
    refusal = f"the body must have at most {most} bytes"
    declared, coded = request.headers.get("content-length", ""), _codings(request.headers)
    if declared.isdecimal() and int(declared) > most:
        raise HTTPException(413, refusal)
    if coded not in ([], ["gzip"], ["x-gzip"]):
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
    """The request with its whole body, received in time and within its client's share of memory.

    `held` gets a permit of `bodies` for each MiB above `FREE_BYTES`. Raises `OverloadedError`,
    `InvalidInputError` or `HTTPException`.
    """
    deadline, pace = Deadline(WHOLE_S), Pace()
    came, counted = 0, FREE_BYTES

    async def receive() -> Message:
        nonlocal came, counted
        try:
            async with asyncio.timeout(deadline.left()):
                message = await pace.wait_for(request.receive)
        except TimeoutError as error:
            late = f"body: it was not complete after {WHOLE_S:.0f} s"
            raise HTTPException(422, late) from error
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
        raise HTTPException(422, "body: it ended before it was complete") from error
    return parsed


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """An upload as it arrives. Raises `InvalidInputError` if its client disconnects."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as error:
        raise InvalidInputError("the upload ended before it was complete", "body") from error


class _Parsed(Request):
    """Parses a large body in a thread, so that searches go on meanwhile."""

    async def json(self) -> Any:
        """As starlette's own; also raises `DuplicateKeyError`."""
        body = await self.body()
        if len(body) < _LARGE:
            return strict_json.loads(body)
        return await asyncio.to_thread(strict_json.loads, body)


def _codings(headers: Headers) -> list[str]:
    """The body's content codings; empty without a body."""
    if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
        return []
    named = ",".join(headers.getlist("content-encoding")).lower().split(",")
    return [name.strip() for name in named if name.strip() not in ("", "identity")]


class Inflated:
    """Inflates a gzip body of at most `most` inflated bytes."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._gzip, self._members = zlib.decompressobj(_GZIP), 0
        self._rest = b""
        """Compressed bytes that have arrived and are not inflated yet."""
        self._inside = False
        """Whether a member has begun and not ended."""
        self._more_comes, self._more_made, self._done = True, False, False
        self._came = self._made = 0

    async def receive(self) -> Message:
        """The next part. Raises `HTTPException` 413 for too large a body, 422 for a broken one."""
        while not self._done:
            if self._rest or self._more_made:
                if piece := await self._next_piece():
                    return {"type": "http.request", "body": piece, "more_body": True}
            elif self._more_comes:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._rest = message.get("body", b"")
                self._came += len(self._rest)
                self._more_comes = message.get("more_body", False)
            else:
                self._done = True
                if self._inside or self._members == 0:
                    raise HTTPException(422, "body: the gzip data ends too early")
                return {"type": "http.request", "body": b"", "more_body": False}
        return await self._receive()

    async def _next_piece(self) -> bytes:
        if self._made == 0:
            piece = self._inflate(_FIRST_PIECE)
        else:
            piece = await asyncio.to_thread(self._inflate, _PIECE)
        self._made += len(piece)
        if self._made > self._most:
            raise HTTPException(413, f"the body must have at most {self._most} bytes inflated")
        if self._made > max(MIB, MOST_RATIO * self._came):
            raise HTTPException(413, f"the body grows more than {MOST_RATIO} times when inflated")
        if self._members > _MEMBERS + self._made // _BYTES_PER_MEMBER:
            raise HTTPException(422, "body: the gzip data has too many small parts")
        return piece

    def _inflate(self, most: int) -> bytes:
        self._inside = True
        try:
            piece = self._gzip.decompress(self._rest, most)
        except zlib.error as error:
            raise HTTPException(422, "body: it is not valid gzip") from error
        self._rest = self._gzip.unconsumed_tail
        # The decompressor may hold back output although it has consumed its whole input.
        self._more_made = len(piece) == most
        if self._gzip.eof:
            self._rest = self._gzip.unused_data
            self._inside = self._more_made = False
            self._gzip, self._members = zlib.decompressobj(_GZIP), self._members + 1
        return piece
