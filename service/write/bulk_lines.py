"""The lines of a bulk upload: each a document, or why it is none."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from service.documents.document_json import parse_document
from service.documents.lines import Place, read_json_lines_after
from service.documents.rows import MAX_ID_CHARS
from service.errors import InvalidInputError, ModelError
from service.store.document_store import DocumentStore
from service.store.job_store import Refusal, Step
from service.types import Document, DocumentLimits, Refused
from service.write.ingestor import Ingestor

BATCH_LINES = 64
BATCH_BYTES = 1 << 16
"""Lines that are stored together, at most; one may be longer by itself."""

_NOTE = "job"

_MOST_REASON_CHARS = 500
_MOST_FIELD_CHARS = 128


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank, and the place where it ends."""

    place: Place
    content: Document | Refusal


def read_batches(path: Path, start: Place, limits: DocumentLimits) -> Iterator[list[Line]]:
    """The lines behind `start`, some at a time; no id is twice in one batch."""
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
    """The last step of the job that wrote last to a collection, kept in the collection's store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    step: Step


def stored_step(store: DocumentStore, job: str) -> Step | None:
    """The last step of this job that wrote something to `store`; None where another came later."""
    note = store.note(_NOTE)
    progress = _Progress.model_validate_json(note) if note else None
    return progress.step if progress and progress.job == job else None


def store_batch(ingestor: Ingestor, job: str, batch: Sequence[Line]) -> Step:
    """Store the documents of a batch in one transaction, with the step for `stored_step`.

    A batch that changes nothing leaves no step. Raises `InvalidInputError` or `ModelError` where
    it fails for one of several documents; a single one is refused for it.
    """
    began = time.monotonic()
    documents = [line.content for line in batch if isinstance(line.content, Document)]
    numbers = {
        line.content.id: line.place.line for line in batch if isinstance(line.content, Document)
    }
    wrong = [line.content for line in batch if isinstance(line.content, Refusal)]

    def step(rows: Sequence[Refused]) -> Step:
        refused = wrong + [_refusal(numbers[r.source], r.source, r.field, r.reason) for r in rows]
        refused.sort(key=lambda refusal: refusal.line)
        offset, line = batch[-1].place
        return Step(offset, line, len(batch) - len(refused), time.monotonic() - began, refused)

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
    """Of what a client sent, only so much as can be stored and shown."""
    known = id_ if isinstance(id_, str) and len(id_) <= MAX_ID_CHARS else None
    return Refusal(
        line,
        known and _shown(known, MAX_ID_CHARS),
        field and _shown(field, _MOST_FIELD_CHARS),
        _shown(reason, _MOST_REASON_CHARS),
    )


def _shown(text: str, most_chars: int) -> str:
    return text[:most_chars].encode("utf-8", "replace").decode()
