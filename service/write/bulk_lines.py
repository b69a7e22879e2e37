"""Reads the lines of a bulk upload in batches, and stores each batch with its place."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from service.documents.jsonl import parse_document
from service.documents.lines import Place, read_json_lines_after
from service.documents.rows import MAX_ID_CHARS
from service.errors import InvalidInputError, ModelError
from service.store.job_store import JobStep, Refusal
from service.store_protocol import Store
from service.types import Document, DocumentLimits, Refused
from service.write.ingestor import Ingestor

BATCH_LINES = 64
BATCH_BYTES = 1 << 16
"""The most lines and bytes that are stored together; a single line may be longer."""

_NOTE = "job"

_MOST_REASON_CHARS = 500
_MOST_FIELD_CHARS = 128


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank: a document or the reason why not, and the place where it ends."""

    place: Place
    content: Document | Refusal


def read_batches(path: Path, start: Place, limits: DocumentLimits) -> Iterator[list[Line]]:
    """The lines after `start` in batches; no id occurs twice in a batch."""
    batch: list[Line] = []
    ids: set[str] = set()
    began = start.offset
    for line in _read_lines(path, start, limits):
        id_ = line.content.id if isinstance(line.content, Document) else None
        if id_ in ids or len(batch) >= BATCH_LINES or line.place.offset - began > BATCH_BYTES:
            if batch:
                yield batch
                began = batch[-1].place.offset
            batch, ids = [], set()
        batch.append(line)
        if id_ is not None:
            ids.add(id_)
    if batch:
        yield batch


class _Progress(BaseModel):
    """The last step of the last job that wrote to a collection, kept in the collection's store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    step: JobStep


def stored_step(store: Store, job: str) -> JobStep | None:
    """The last step of this job that wrote to `store`; None if another job has written since."""
    with store.view() as view:
        note = view.note(_NOTE)
    progress = _Progress.model_validate_json(note) if note else None
    return progress.step if progress and progress.job == job else None


def store_batch(ingestor: Ingestor, job: str, batch: Sequence[Line]) -> JobStep:
    """Store the documents of a batch, and the step for `stored_step`, in one transaction.

    A batch that changes nothing leaves no step. If one of several documents makes the batch fail,
    raises `InvalidInputError` or `ModelError`; a single document is refused instead.
    """
    began = time.monotonic()
    documents = [line.content for line in batch if isinstance(line.content, Document)]
    numbers = {
        line.content.id: line.place.line for line in batch if isinstance(line.content, Document)
    }
    refusals = [line.content for line in batch if isinstance(line.content, Refusal)]

    def step(rows: Sequence[Refused]) -> JobStep:
        refused = refusals + [
            _refusal(numbers[r.source], r.source, r.field, r.reason) for r in rows
        ]
        refused.sort(key=lambda refusal: refusal.line)
        offset, line = batch[-1].place
        return JobStep(offset, line, len(batch) - len(refused), time.monotonic() - began, refused)

    def note(rows: Sequence[Refused]) -> tuple[str, str]:
        return _NOTE, _Progress(job=job, step=step(rows)).model_dump_json()

    try:
        return step(ingestor.ingest_together(documents, note))
    except (InvalidInputError, ModelError) as error:
        if len(documents) > 1:
            raise
        field = error.field if isinstance(error, InvalidInputError) else "text"
        return step([Refused(documents[0].id, None, field, str(error))])


def _read_lines(path: Path, start: Place, limits: DocumentLimits) -> Iterator[Line]:
    for place, row in read_json_lines_after(start, path, limits.text):
        if isinstance(row, Refused):
            yield Line(place, _refusal(place.line, None, row.field, row.reason))
            continue
        try:
            yield Line(place, parse_document(row, limits))
        except InvalidInputError as error:
            yield Line(place, _refusal(place.line, row.get("id"), error.field, str(error)))


def _refusal(line: int, id_: object, field: str | None, reason: str) -> Refusal:
    """A refusal with what the client sent shortened so that it can be stored and shown."""
    known = id_ if isinstance(id_, str) and len(id_) <= MAX_ID_CHARS else None
    return Refusal(
        line,
        known and _shortened(known, MAX_ID_CHARS),
        field and _shortened(field, _MOST_FIELD_CHARS),
        _shortened(reason, _MOST_REASON_CHARS),
    )


def _shortened(text: str, most_chars: int) -> str:
    return text[:most_chars].encode("utf-8", "replace").decode()
