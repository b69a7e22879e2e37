"""Answers that are archives: read in threads, sent piece by piece."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from service.api.openapi import Json, headers
from service.api.state import ServerState
from service.errors import NotReadyError
from service.scheduling.gate import in_thread

IDLE_S = 60.0
"""A reader that stalls this long is disconnected: it keeps the store's log from shrinking."""


def content_of(media_type: str) -> Json:
    """The archive as a body, for a route's `responses`."""
    return {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def named(file: str) -> Json:
    """The header with the archive's name, for a route's `responses`."""
    return headers("Content-Disposition", "A file name.", f'attachment; filename="{file}"')


async def archive_answer(
    pieces: Generator[bytes], state: ServerState, file: str, media_type: str
) -> StreamingResponse:
    """The archive as an answer; refuses before it begins."""
    rest = _read(pieces, state)
    first = await anext(rest)
    return _ArchiveResponse(first, rest, file, media_type)


async def _read(archive: Generator[bytes], state: ServerState) -> AsyncGenerator[bytes]:
    """The pieces of an archive, read in threads; holds a permit and the store until closed.

    Raises `OverloadedError`, `NotFoundError` or `StoreError` before the first one.
    """
    with state.snapshots.permit():
        try:
            while (piece := await in_thread(lambda: next(archive, None))) is not None:
                if state.phase.cut:
                    raise NotReadyError("the server is stopping")
                yield piece
        finally:
            await in_thread(archive.close)


class _ArchiveResponse(StreamingResponse):
    """Ends if the caller stops reading."""

    def __init__(
        self, first: bytes, rest: AsyncGenerator[bytes], file: str, media_type: str
    ) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield first
            async for piece in rest:
                yield piece

        disposition = {"Content-Disposition": f'attachment; filename="{file}"'}
        super().__init__(pieces(), media_type=media_type, headers=disposition)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(IDLE_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        finally:
            await self._rest.aclose()
