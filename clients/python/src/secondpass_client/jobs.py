"""Bulk uploads and their jobs."""

import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from pathlib import Path

import httpx

from secondpass_client.archives import pieces_of
from secondpass_client.calls import (
    Calls,
    adapter,
    away,
    json_bytes,
    never,
    parsed,
    passing,
    path_of,
)
from secondpass_client.errors import (
    ClientTimeoutError,
    ConnectionFailedError,
    UnexpectedAnswerError,
)
from secondpass_client.records import Job, WireDocument

PATIENCE_S = 300.0
"""How long `wait` waits for a server that restarts."""

_PIECE_BYTES = 1 << 16
_SILENCE_S = 60.0
"""Longest silence of a job's events: the server sends a sign of life every 15 s."""

OnProgress = Callable[[Job], None]


def _ignore(_job: Job) -> None:
    pass


class JobCalls(Calls):
    """The calls on bulk uploads."""

    async def bulk(
        self,
        source: str | Path | Iterable[WireDocument] | AsyncIterable[WireDocument],
        *,
        collection: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Upload documents, or a file of NDJSON as it is, in constant memory; returns the job's id.

        Without a key of yours one is made, so that a repeated attempt does nothing twice. An
        iterator cannot be read twice: with one there is a single attempt.

        Example:
            job = client.wait(client.bulk("documents.ndjson"))
        """
        path = self._path(collection, "documents", "bulk")
        key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}

        def once() -> Awaitable[httpx.Response]:
            content = _pieces(source)
            return self._attempt("POST", path, content=content, headers=headers, accepted=(202,))

        is_iterator = isinstance(source, Iterator | AsyncIterator)
        response = await self._retry(once, never if is_iterator else passing)
        return parsed(str, response, "job_id")

    async def job(self, job_id: str) -> Job:
        """How far a job is. Raises `NotFoundError`."""
        return await self._ask(Job, "GET", path_of("jobs", job_id))

    async def jobs(self, limit: int = 100) -> list[Job]:
        """The last jobs, the newest first."""
        return await self._ask(list[Job], "GET", "jobs", part="jobs", params={"limit": limit})

    async def cancel(self, job_id: str) -> Job:
        """End a job; what it has stored stays. One that has ended stays as it is."""
        return await self._ask(Job, "DELETE", path_of("jobs", job_id))

    async def wait(
        self, job_id: str, on_progress: OnProgress = _ignore, *, patience: float = PATIENCE_S
    ) -> Job:
        """Follow a job until it has ended, through restarts of the server; returns it as it ended.

        `on_progress` is called at each change. A server that is out of reach or not ready is asked
        again for `patience` seconds.
        """
        while True:
            job = await self._retry(
                lambda: self._follow(job_id, on_progress), away, patience=patience
            )
            if job.is_finished:
                return job

    async def _follow(self, job_id: str, on_progress: OnProgress) -> Job:
        """The job at the last of its events. Raises if there is none."""
        job: Job | None = None
        pieces = self._wire.stream(path_of("jobs", job_id, "events"), timeout=_SILENCE_S)
        try:
            async with aclosing(_lines(pieces)) as lines:
                async for line in lines:
                    if line.startswith(b"data:"):
                        job = _job(line.removeprefix(b"data:"))
                        on_progress(job)
        except (ConnectionFailedError, ClientTimeoutError):
            if job is None:
                raise
        if job is None:
            raise ConnectionFailedError("the server ended the events before the first one")
        return job


def _job(event: bytes) -> Job:
    try:
        return adapter(Job).validate_json(event)
    except ValueError:
        raise UnexpectedAnswerError("an event is no job of this service") from None


async def _lines(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    rest = b""
    async with aclosing(pieces):
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line


def _pieces(
    source: str | Path | Iterable[WireDocument] | AsyncIterable[WireDocument],
) -> Iterator[bytes] | AsyncIterator[bytes]:
    if isinstance(source, str | Path):
        return _file_pieces(Path(source))
    if isinstance(source, AsyncIterable):
        return _async_line_pieces(source)
    return _line_pieces(source)


def _file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from pieces_of(file)


def _line_pieces(documents: Iterable[WireDocument]) -> Iterator[bytes]:
    """Documents as lines, many together."""
    lines = bytearray()
    for document in documents:
        lines += json_bytes(document) + b"\n"
        if len(lines) >= _PIECE_BYTES:
            yield bytes(lines)
            lines.clear()
    yield bytes(lines)


async def _async_line_pieces(documents: AsyncIterable[WireDocument]) -> AsyncIterator[bytes]:
    async for document in documents:
        yield json_bytes(document) + b"\n"
