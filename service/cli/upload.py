"""`secondpass ingest --url`: send documents to a server and watch its job."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from secondpass_client import SearchClient
from service.cli.progress import progress
from service.datasets import count_rows
from service.documents.jsonl import fields_of
from service.documents.rows import Row
from service.errors import SecondpassError
from service.types import Refused


def upload(
    path: Path,
    client: SearchClient,
    send: Callable[[Iterable[dict[str, Any]]], str],
    read: Callable[[], Iterator[Row]],
    *,
    wait: bool,
) -> tuple[list[Refused], int | None]:
    """`send` all documents that `read` reads of `path`, and `wait` until they are stored.

    Returns the rows that were refused here or by the server, and how many the server stored (None
    without `wait`). Raises `SecondpassError` if the job fails.
    """
    with progress("upload", count_rows(path)) as advance:
        rows = _Rows(read, advance)
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

    def __init__(self, read: Callable[[], Iterator[Row]], advance: Callable[[int], None]) -> None:
        self._read, self._advance = read, advance
        self.refused: list[Refused] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.refused.clear()
        for count, row in enumerate(self._read(), 1):
            self._advance(count)
            if isinstance(row, Refused):
                self.refused.append(row)
            else:
                yield fields_of(row)
