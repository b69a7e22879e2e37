"""`Content-Encoding`: a gzip body is inflated as it arrives, every other coding is refused.

All bodies pass here, whatever the route. However little a client sends, what comes of it is bounded
in bytes while it is inflated, and the event loop has its turns.
"""

import asyncio
import zlib

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

ACCEPTED = ("gzip", "x-gzip")

MOST_RATIO = 100
"""Times that a body may grow, once it is above a MiB. Text grows five to twenty times."""

_MIB = 1 << 20
_FIRST_PIECE = 1 << 16
"""What is inflated on the event loop: enough for most requests, and done in a moment."""
_PIECE = 1 << 18
"""What is inflated in a thread at a time."""
_MEMBERS, _BYTES_PER_MEMBER = 100, 1024
"""A gzip stream may have this many parts, and one more for each `_BYTES_PER_MEMBER` bytes."""
_GZIP = 16 + zlib.MAX_WBITS


def codings(headers: Headers) -> list[str]:
    """What a body is coded with; nothing where the request has no body."""
    if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
        return []
    named = ",".join(headers.getlist("content-encoding")).lower().split(",")
    return [name.strip() for name in named if name.strip() not in ("", "identity")]


class Inflated:
    """The inflated body of a gzip body, as an ASGI `receive`."""

    def __init__(self, receive: Receive, most: int) -> None:
        """`most` bytes may come of it."""
        self._receive, self._most = receive, most
        self._gzip, self._members = zlib.decompressobj(_GZIP), 0
        self._rest = b""
        """Compressed bytes that are here already."""
        self._inside = False
        """A member has begun and not ended."""
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
        if self._made > max(_MIB, MOST_RATIO * self._came):
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
        # The decompressor may hold the end of what it made, although all was given to it.
        self._more_made = len(piece) == most
        if self._gzip.eof:
            self._rest = self._gzip.unused_data
            self._inside = self._more_made = False
            self._gzip, self._members = zlib.decompressobj(_GZIP), self._members + 1
        return piece
