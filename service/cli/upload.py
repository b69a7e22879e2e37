"""`secondpass ingest --url`: send documents to a server and watch its job."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from secondpass_client import SearchClient
from service.cli.progress import progress
from service.datasets import count_rows, read_documents
from service.documents.jsonl import fields_of
from service.errors import SecondpassError
from service.types import DocumentLimits, Refused


def upload(
    path: Path,
    client: SearchClient,
    send: Callable[[Iterable[dict[str, Any]]], str],
    limits: DocumentLimits,
    *,
    wait: bool,
) -> tuple[list[Refused], int | None]:
    """`send` all documents of a file or folder, and `wait` until the server has stored them.

    Returns the rows that were refused here or by the server, and how many the server stored (None
    without `wait`). Raises `SecondpassError` if the job fails.
    """
    with progress("upload", count_rows(path)) as advance:
        rows = _Rows(path, limits, advance)
        job_id = send(rows)
    typer.echo(f"job {job_id}")
    refused = rows.refused
    if not wait:
        return refused, None
    with progress("ingest", client.job(job_id).total) as advance:
        job = client.wait(job_id, lambda job: advance(job.done + job.refused))
    count = len(refused) + job.refused  # a job lists only the first hundred
    refused += [Refused(row.id or str(path), None, row.field, row.reason) for row in job.refusals]
    typer.echo(f"{job.done} stored, {count} refused")
    if job.state != "done":
        raise SecondpassError(f"job {job.job_id} {job.state}: {job.reason or 'by request'}")
    return refused, job.done


class _Rows:
    """The documents of a file; each try of the upload reads them again."""

    def __init__(self, path: Path, limits: DocumentLimits, advance: Callable[[int], None]) -> None:
        self._path, self._limits, self._advance = path, limits, advance
        self.refused: list[Refused] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.refused.clear()
        rows = read_documents(self._path, self._limits, last_only=True)
        for count, row in enumerate(rows, 1):
            self._advance(count)
            if isinstance(row, Refused):
                self.refused.append(row)
            else:
                yield fields_of(row)
