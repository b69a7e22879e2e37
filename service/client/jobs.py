"""Bulk uploads and their jobs, for both clients."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, Retrying

from service.client.document_requests import WireDocument
from service.client.errors import ClientTimeoutError, ConnectionFailedError
from service.client.http import for_so_long, in_collection, network_errors, read

PATIENCE_S = 300.0
"""How long `wait` waits for a server that restarts."""

_PIECE_BYTES = 1 << 16
_SILENCE_S = 60.0
"""Longest wait for a sign of life of a job's events: the server gives one every 15 s."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line (1-based) that was not taken; `field` is None where the whole line is at fault."""

    line: int
    id: str | None
    field: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """How far a bulk upload is: `done` and `refused` of `total` documents.

    `rate` is in documents a second. `refusals` has the first 100; it is empty in a list of jobs.
    """

    job_id: str
    collection: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    refused: int
    total: int
    rate: float | None = None
    seconds_left: float | None = None
    created: str = ""
    finished: str | None = None
    reason: str | None = None
    note: str | None = None
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        """Nothing more will happen to it."""
        return self.state not in {"queued", "running"}


@dataclass(frozen=True, slots=True)
class _Accepted:
    job_id: str


@dataclass(frozen=True, slots=True)
class _Jobs:
    jobs: list[Job]


OnProgress = Callable[[Job], None]

_JOB, _JOBS, _ACCEPTED = TypeAdapter(Job), TypeAdapter(_Jobs), TypeAdapter(_Accepted)


def _ignore(_job: Job) -> None:
    pass


class JobCalls:
    """What `SearchClient` can do with bulk uploads."""

    _http: httpx.Client
    _retrying: Retrying
    _collection: str | None

    def bulk(
        self,
        source: str | Path | Iterable[WireDocument],
        *,
        collection: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Upload documents, or a file of NDJSON as it is, in constant memory; returns the job's id.

        Without a key of yours one is made, so that an attempt that is repeated does nothing twice.
        An iterator cannot be read twice: with one there is a single attempt.

        Example:
            job = client.wait(client.bulk("documents.ndjson"))
        """
        path = in_collection(collection or self._collection, "documents", "bulk")
        headers = _headers(idempotency_key)

        def once() -> str:
            with network_errors():
                response = self._http.post(path, content=_pieces(source), headers=headers)
            return read(response, _ACCEPTED, accepted=(202,)).job_id

        return once() if isinstance(source, Iterator) else self._retrying(once)

    def job(self, job_id: str) -> Job:
        """How far a job is. Raises `NotFoundError`."""
        return self._retrying(self._ask, "GET", job_id)

    def jobs(self, limit: int = 100) -> list[Job]:
        """The last jobs, the newest first."""

        def once() -> list[Job]:
            with network_errors():
                response = self._http.get("jobs", params={"limit": limit})
            return read(response, _JOBS).jobs

        return self._retrying(once)

    def cancel(self, job_id: str) -> Job:
        """End a job; what it has stored stays. One that has ended stays as it is."""
        return self._retrying(self._ask, "DELETE", job_id)

    def wait(
        self, job_id: str, on_progress: OnProgress = _ignore, *, patience: float = PATIENCE_S
    ) -> Job:
        """Follow a job until it has ended, through restarts of the server; returns it as it ended.

        `on_progress` hears of each change. A server that is out of reach or not ready is asked
        again for `patience` seconds.
        """
        retrying = for_so_long(self._retrying, patience)
        while True:
            job: Job = retrying(self._follow, job_id, on_progress)
            if job.is_finished:
                return job

    def _ask(self, method: str, job_id: str) -> Job:
        with network_errors():
            response = self._http.request(method, in_collection(None, "jobs", job_id))
        return read(response, _JOB)

    def _follow(self, job_id: str, on_progress: OnProgress) -> Job:
        """Until the end of the events; raises where there is none at all."""
        job: Job | None = None
        path = in_collection(None, "jobs", job_id, "events")
        try:
            with (
                network_errors(),
                self._http.stream("GET", path, timeout=_SILENCE_S) as response,
            ):
                if response.status_code != 200:
                    response.read()
                    return read(response, _JOB)
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        job = _JOB.validate_json(line.removeprefix("data:"))
                        on_progress(job)
        except (ConnectionFailedError, ClientTimeoutError):
            if job is None:
                raise
        return job or _no_events()


class AsyncJobCalls:
    """What `AsyncSearchClient` can do with bulk uploads."""

    _http: httpx.AsyncClient
    _retrying: AsyncRetrying
    _collection: str | None

    async def bulk(
        self,
        source: str | Path | Iterable[WireDocument] | AsyncIterable[WireDocument],
        *,
        collection: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """As `SearchClient.bulk`; the documents may come from an asynchronous iterable too."""
        path = in_collection(collection or self._collection, "documents", "bulk")
        headers = _headers(idempotency_key)

        async def once() -> str:
            with network_errors():
                response = await self._http.post(
                    path,
                    content=_async_pieces(source),
                    headers=headers,
                )
            return read(response, _ACCEPTED, accepted=(202,)).job_id

        if isinstance(source, Iterator | AsyncIterator):
            return await once()
        return await self._retrying(once)

    async def job(self, job_id: str) -> Job:
        """As `SearchClient.job`."""
        return await self._retrying(self._ask, "GET", job_id)

    async def jobs(self, limit: int = 100) -> list[Job]:
        """As `SearchClient.jobs`."""

        async def once() -> list[Job]:
            with network_errors():
                response = await self._http.get("jobs", params={"limit": limit})
            return read(response, _JOBS).jobs

        return await self._retrying(once)

    async def cancel(self, job_id: str) -> Job:
        """As `SearchClient.cancel`."""
        return await self._retrying(self._ask, "DELETE", job_id)

    async def wait(
        self, job_id: str, on_progress: OnProgress = _ignore, *, patience: float = PATIENCE_S
    ) -> Job:
        """As `SearchClient.wait`."""
        retrying = for_so_long(self._retrying, patience)
        while True:
            job: Job = await retrying(self._follow, job_id, on_progress)
            if job.is_finished:
                return job

    async def _ask(self, method: str, job_id: str) -> Job:
        with network_errors():
            response = await self._http.request(method, in_collection(None, "jobs", job_id))
        return read(response, _JOB)

    async def _follow(self, job_id: str, on_progress: OnProgress) -> Job:
        job: Job | None = None
        path = in_collection(None, "jobs", job_id, "events")
        try:
            with network_errors():
                async with self._http.stream("GET", path, timeout=_SILENCE_S) as response:
                    if response.status_code != 200:
                        await response.aread()
                        return read(response, _JOB)
                    async for line in response.aiter_lines():
                        if line.startswith("data:"):
                            job = _JOB.validate_json(line.removeprefix("data:"))
                            on_progress(job)
        except (ConnectionFailedError, ClientTimeoutError):
            if job is None:
                raise
        return job or _no_events()


def _headers(key: str | None) -> dict[str, str]:
    return {
        "Content-Type": "application/x-ndjson",
        "Idempotency-Key": uuid.uuid4().hex if key is None else key,
    }


def _no_events() -> Job:
    raise ConnectionFailedError("the server ended the events before the first one")


def _line(document: WireDocument) -> bytes:
    return json.dumps(dict(document), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _pieces(source: str | Path | Iterable[WireDocument]) -> Iterator[bytes]:
    """A file in pieces, or documents as lines, many together."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
        return
    lines = bytearray()
    for document in source:
        lines += _line(document)
        if len(lines) >= _PIECE_BYTES:
            yield bytes(lines)
            lines.clear()
    yield bytes(lines)


async def _async_pieces(
    source: str | Path | Iterable[WireDocument] | AsyncIterable[WireDocument],
) -> AsyncIterator[bytes]:
    if isinstance(source, AsyncIterable):
        async for document in source:
            yield _line(document)
        return
    # What reads a file may block: not in the event loop.
    pieces = _pieces(source)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
