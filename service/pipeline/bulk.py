"""The lines of a bulk upload: each a document, or why it is none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.collection.documents import parse_document
from service.collection.lines import Place, read_json_lines_after
from service.collection.rows import MAX_ID_CHARS
from service.errors import InvalidInputError, ModelError
from service.index.job_store import Refusal
from service.pipeline.ingest import Ingestor
from service.types import Document, Refused

BATCH_LINES = 64
BATCH_BYTES = 1 << 16
"""Lines that are stored together, at most: what a restart does again."""

_MOST_REASON_CHARS = 500
_MOST_FIELD_CHARS = 128


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank, and the place where it ends."""

    place: Place
    content: Document | Refusal


def read_batches(path: Path, start: Place, max_chars: int) -> Iterator[list[Line]]:
    """The lines behind `start`, some at a time; no id is twice in one batch."""
    batch: list[Line] = []
    ids: set[str] = set()
    began = start.offset
    for line in _read_lines(path, start, max_chars):
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


def store_batch(ingestor: Ingestor, batch: Sequence[Line]) -> list[Refusal]:
    """Store the documents of a batch; returns the lines that were refused, in their order.

    Where the batch fails for one of its documents, the others are stored without that one.
    """
    refused = [line.content for line in batch if isinstance(line.content, Refusal)]
    lines = {
        line.content.id: line.place.line for line in batch if isinstance(line.content, Document)
    }
    documents = [line.content for line in batch if isinstance(line.content, Document)]
    refused += [
        _refusal(lines[row.source], row.source, row.field, row.reason)
        for row in _ingest(ingestor, documents)
    ]
    return sorted(refused, key=lambda refusal: refusal.line)


def _ingest(ingestor: Ingestor, documents: Sequence[Document]) -> list[Refused]:
    try:
        return ingestor.ingest(documents).refused
    except (InvalidInputError, ModelError) as error:
        if len(documents) == 1:
            field = error.field if isinstance(error, InvalidInputError) else "text"
            return [Refused(documents[0].id, None, field, str(error))]
    return [row for document in documents for row in _ingest(ingestor, [document])]


def _read_lines(path: Path, start: Place, max_chars: int) -> Iterator[Line]:
    for place, row in read_json_lines_after(start, path, max_chars):
        if isinstance(row, Refused):
            yield Line(place, _refusal(place.line, None, None, row.reason))
            continue
        try:
            yield Line(place, parse_document(row, max_chars))
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
