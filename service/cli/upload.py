"""`secondpass ingest --url`: send documents to a server and watch its job."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from secondpass_client import Job, SearchClient, SearchError
from service.cli.progress import progress
from service.collection import count_rows, read_documents
from service.errors import InvalidInputError, SecondpassError
from service.types import DocumentLimits, Refused


@dataclass(frozen=True, slots=True)
class Destination:
    """A server, and one of its collections or aliases; None is the default one."""

    url: str
    api_key: str | None = None
    collection: str | None = None
    idempotency_key: str | None = None


def upload(
    path: Path, to: Destination, limits: DocumentLimits, *, wait: bool
) -> tuple[list[Refused], int | None]:
    """Send all documents of a file or folder.

    Returns the rows that were refused, here or there, and how many the server stored. Where it does
    not `wait`, the server goes on by itself (None); the job's id is told. Raises
    `SecondpassError` where the job did not end well.
    """
    try:
        client = SearchClient(to.url, api_key=to.api_key)
    except ValueError as error:
        raise InvalidInputError(f"--url or --api-key: {error}") from error
    try:
        with client:
            job, refused = _send(client, path, to, limits, wait=wait)
    except SearchError as error:
        raise SecondpassError(f"{to.url}: {error}") from error
    if not wait:
        return refused, None
    count = len(refused) + job.refused  # of which a job tells the first hundred
    refused += [Refused(row.id or str(path), None, row.field, row.reason) for row in job.refusals]
    typer.echo(f"{job.done} stored, {count} refused")
    if job.state != "done":
        raise SecondpassError(f"job {job.job_id} {job.state}: {job.reason or 'by request'}")
    return refused, job.done


def _send(
    client: SearchClient, path: Path, to: Destination, limits: DocumentLimits, *, wait: bool
) -> tuple[Job, list[Refused]]:
    with progress("upload", count_rows(path)) as advance:
        rows = _Rows(path, limits, advance)
        job_id = client.bulk(rows, collection=to.collection, idempotency_key=to.idempotency_key)
    typer.echo(f"job {job_id}")
    job = client.job(job_id)
    if wait:
        with progress("ingest", job.total) as advance:
            job = client.wait(job_id, lambda job: advance(job.done + job.refused))
    return job, rows.refused


class _Rows:
    """The documents of a file, as often as an upload has to be tried."""

    def __init__(self, path: Path, limits: DocumentLimits, advance: Callable[[int], None]) -> None:
        self._path, self._limits, self._advance = path, limits, advance
        self.refused: list[Refused] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.refused.clear()
        count = 0
        for row in read_documents(self._path, self._limits, last_only=True):
            count += 1
            self._advance(count)
            if isinstance(row, Refused):
                self.refused.append(row)
                continue
            yield {
                "id": row.id,
                "title": row.title,
                "text": row.text,
                "metadata": dict(row.metadata),
            }
