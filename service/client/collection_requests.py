"""Requests about collections, and archives on this side's disk: all that both clients share."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import httpx
from pydantic import TypeAdapter

from service.client.document_requests import Call
from service.client.errors import UnexpectedAnswerError
from service.client.http import in_collection, path, read

_PIECE_BYTES = 1 << 18
_END = bytes(1024)
"""With what an archive ends: what is cut off ends otherwise."""

UPLOAD_TIMEOUT = httpx.Timeout(90.0, read=3600.0)
"""The server answers a restore once the collection is there."""


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy is: documents of the source dealt with, of `total`."""

    source: str
    mirror: bool
    state: Literal["running", "done", "failed"]
    copied: int
    removed: int
    total: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection; the figures are None where it could not be opened, and `problems` says why.

    `documents` and `passages` are those that searches see; `staged` documents wait to be encoded.
    """

    name: str
    aliases: list[str]
    created: str
    settings: dict[str, Any]
    documents: int | None = None
    passages: int | None = None
    staged: int | None = None
    failed: int | None = None
    revision: int | None = None
    generation: str | None = None
    encoder: dict[str, Any] | None = None
    reranker: str | None = None
    problems: list[str] = field(default_factory=list)
    copy: CopyProgress | None = None


@dataclass(frozen=True, slots=True)
class _Collections:
    collections: list[Collection]


@dataclass(frozen=True, slots=True)
class _Aliases:
    aliases: dict[str, str]


_COLLECTION: TypeAdapter[Collection] = TypeAdapter(Collection)
_COPY: TypeAdapter[CopyProgress] = TypeAdapter(CopyProgress)
_NOTHING: TypeAdapter[None] = TypeAdapter(None)
_COLLECTIONS, _ALIASES = TypeAdapter(_Collections), TypeAdapter(_Aliases)


def list_all() -> Call[list[Collection]]:
    """`GET /collections`."""
    return Call("GET", "collections", lambda answer: read(answer, _COLLECTIONS).collections)


def get(name: str) -> Call[Collection]:
    """`GET /collections/{name}`."""
    return Call("GET", in_collection(name), lambda answer: read(answer, _COLLECTION))


def create(name: str, settings: Mapping[str, str | int | float | bool] | None) -> Call[Collection]:
    """`POST /collections`."""
    body = {"name": name, "settings": dict(settings or {})}
    return Call("POST", "collections", made, {"json": body}, conditional=True)


def made(answer: httpx.Response) -> Collection:
    """A collection that is there from now on."""
    return read(answer, _COLLECTION, accepted=(201,))


def copy(name: str, source: str, *, mirror: bool) -> Call[CopyProgress]:
    """`POST /collections/{name}/copy`."""
    return Call(
        "POST",
        in_collection(name, "copy"),
        lambda answer: read(answer, _COPY, accepted=(202,)),
        {"json": {"from": source, "mirror": mirror}},
        conditional=True,
    )


def delete_collection(name: str) -> Call[None]:
    """`DELETE /collections/{name}`."""
    return Call("DELETE", in_collection(name), _nothing, conditional=True)


def list_aliases() -> Call[dict[str, str]]:
    """`GET /aliases`."""
    return Call("GET", "aliases", lambda answer: read(answer, _ALIASES).aliases)


def set_alias(alias: str, collection: str) -> Call[dict[str, str]]:
    """`PUT /aliases/{alias}`."""
    return Call(
        "PUT",
        path("aliases", alias),
        lambda answer: read(answer, _ALIASES).aliases,
        {"json": {"collection": collection}},
    )


def delete_alias(alias: str) -> Call[None]:
    """`DELETE /aliases/{alias}`."""
    return Call("DELETE", path("aliases", alias), _nothing, conditional=True)


def restore_options(size: int, *, re_embed: bool) -> dict[str, Any]:
    """Of `POST /collections/{name}/restore` with an archive of `size` bytes."""
    return {
        "params": {"re_embed": str(re_embed).lower()},
        "headers": {"Content-Type": "application/x-tar", "Content-Length": str(size)},
        "timeout": UPLOAD_TIMEOUT,
    }


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when a whole archive is in it, on the disk.

    Raises `UnexpectedAnswerError` where it was cut off; what was at `path` then stays.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("w+b") as file:
            yield file
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END)))
            if file.read() != _END:
                raise UnexpectedAnswerError("the archive was cut off; ask for it again")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        with suppress(OSError):  # what went wrong before says more
            unfinished.unlink(missing_ok=True)


@asynccontextmanager
async def async_whole_file(path: Path) -> AsyncIterator[BinaryIO]:
    """The same for asyncio: all that may wait for the disk is done in threads."""
    whole = whole_file(path)
    file = await asyncio.to_thread(whole.__enter__)
    try:
        yield file
    except BaseException:
        await asyncio.to_thread(whole.__exit__, *sys.exc_info())
        raise
    await asyncio.to_thread(whole.__exit__, None, None, None)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file."""
    while piece := file.read(_PIECE_BYTES):
        yield piece


async def async_pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    """The same for asyncio."""
    while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
        yield piece


def _nothing(answer: httpx.Response) -> None:
    if answer.status_code != 204:
        read(answer, _NOTHING, accepted=())
