"""`/collections/{name}/snapshot` and `/restore`: archives as streams."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from service.api import body
from service.api.archives import archive_answer, content_of, named
from service.api.body import Body
from service.api.openapi import FULL, failures
from service.api.route_rules import Route, Rules
from service.api.routes.collections import CONFLICT, NOT_FOUND, NameDep, OwnNameDep, described
from service.api.schemas.collection_schemas import CollectionBody
from service.api.state import CollectionsDep, ServerState, StateDep
from service.durable import explained
from service.scheduling.gate import Deadline, in_thread, paced
from service.store.snapshot import MEDIA_TYPE

router = APIRouter(tags=["snapshots"], route_class=Route)

PATIENCE_S = 600.0
"""How long a complete archive waits for the restores before it."""

_TAR = Body(
    limit="max_snapshot_bytes",
    name="an archive",
    media_types=(MEDIA_TYPE, "application/octet-stream"),
    streamed=True,
)
_ARCHIVE = content_of(MEDIA_TYPE)
_BODY = {"requestBody": {"required": True, "description": "The archive.", **_ARCHIVE}}
_REFUSED = failures(
    {
        413: "The archive is larger than `max_snapshot_bytes`.",
        415: "The body is not declared to be a tar.",
        422: "The archive is damaged or not from this service.",
    }
)


@router.get(
    "/collections/{name}/snapshot",
    summary="An archive of a collection",
    response_class=StreamingResponse,
    responses={200: {"description": "A tar.", **named("articles-2.tar"), **_ARCHIVE}, **NOT_FOUND},
)
@Rules(narrowest="collections")
async def read_snapshot(
    name: NameDep, collections: CollectionsDep, state: StateDep
) -> StreamingResponse:
    """The whole collection at this moment, while writes go on: documents with their versions,
    passages and vectors, and at the end a manifest with the SHA-256 of each part.

    An archive without `manifest.sha256` at its end is incomplete.
    """
    found = await asyncio.to_thread(collections.info, name)
    pieces = collections.snapshot(found.name)
    return await archive_answer(pieces, state, f"{found.name}.tar", MEDIA_TYPE)


@router.post(
    "/collections/{name}/restore",
    status_code=201,
    summary="Create a collection from an archive",
    responses={**_REFUSED, **CONFLICT, **FULL},
    openapi_extra=_BODY,
)
@Rules(narrowest="collections", body=_TAR)
async def restore_collection(
    name: OwnNameDep,
    request: Request,
    collections: CollectionsDep,
    state: StateDep,
    re_embed: Annotated[
        bool, Query(description="Encode all documents again, with the server's models.")
    ] = False,
) -> CollectionBody:
    """Create the collection once every size, count and hash is checked; a failure leaves nothing
    behind. 409 if the name is taken, or if the vectors belong to another model than the one that
    the collection would use.
    """
    state.restores.check()
    collections.require_free(name)
    pieces = paced(body.pieces(request))
    # No permit before this: an archive that arrives slowly must not block another.
    first = await anext(pieces, b"")
    with (
        state.archives.permit(),
        state.spool_space.borrowed() as take,
        _spool(state) as spool,
    ):

        def write(piece: bytes) -> None:
            take(len(piece))
            spool.write(piece)

        await _receive(first, pieces, write, state)
        await in_thread(spool.flush)
        # Only now: an archive that is still arriving would block others.
        async with state.restores.patient_permit(Deadline(PATIENCE_S)):
            await in_thread(lambda: collections.restore(name, spool, re_embed=re_embed))
    return described(await asyncio.to_thread(collections.info, name))


@contextmanager
def _spool(state: ServerState) -> Iterator[BinaryIO]:
    """A file without a name: it disappears when it is closed, or when the process dies."""
    with (
        explained("cannot keep an upload"),
        tempfile.TemporaryFile(dir=state.settings.data_dir) as file,
    ):
        yield file


async def _receive(
    first: bytes,
    pieces: AsyncIterator[bytes],
    write: Callable[[bytes], None],
    state: ServerState,
) -> None:
    piece = first
    while piece:
        async with state.spooling.turn():
            await in_thread(partial(write, piece))
        piece = await anext(pieces, b"")
