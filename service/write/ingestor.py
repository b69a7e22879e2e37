"""From documents to stored vectors: chunk, encode, store, in batches that are each durable."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from service.errors import ModelError, UnprocessableTextError
from service.protocols import Encoder
from service.scheduling.ahead import ahead
from service.scheduling.background import Background
from service.store_protocol import Store
from service.types import Document, EncodedDocument, Refused, StagedDocument
from service.write.batches import LOT_CHARS, Batch, UnderWay, lots
from service.write.document_encoder import Chunked, DocumentEncoder
from service.write.passage_states import PassageStates
from service.write.row_batches import row_batches
from service.write.staged import LONG_CHARS, IndexStep, StagedDocuments

BATCH_TOKENS = 1 << 13
STATIC_BATCH_TOKENS = 1 << 18
"""Tokens that are encoded and stored together. A static encoder takes about a second for a
batch."""

_LOT = 64
_STATIC_LOT = 2048
"""The most documents that are read and chunked together."""

_MOST_LOTS = 4
"""A batch has at most this many times as many documents, so that a kill costs few of any length."""


@dataclass(slots=True)
class IngestReport:
    """What became of the rows so far."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    passages: int = 0
    refused: list[Refused] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that are done."""
        return self.added + self.updated + self.unchanged + len(self.refused)


class Ingestor:
    """Puts documents into a store. Unchanged documents cost nothing."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        *,
        overlap: int,
        chunked: bool = True,
        background: Background | None = None,
        states: PassageStates | None = None,
    ) -> None:
        """`overlap` is in tokens. With `background`, encoding gives way to requests.

        `states` keeps the token states that come with the vectors. If not `chunked`, a document is
        one passage and the encoder reads what fits its window. Published figures are measured so.
        """
        self._store, self._states = store, states
        self._batch_tokens = STATIC_BATCH_TOKENS if encoder.static else BATCH_TOKENS
        self._lot = _STATIC_LOT if encoder.static else _LOT
        self._documents = DocumentEncoder(
            encoder, overlap=overlap, chunked=chunked, background=background, states=states
        )
        self._staged = StagedDocuments(store, self._documents, self._publish)

    def ingest(
        self,
        rows: Iterable[Document | Refused],
        on_progress: Callable[[IngestReport], None] = lambda _report: None,
    ) -> IngestReport:
        """Store all rows; `on_progress` is called after each batch, once it is durable.

        One batch is read and chunked and one is encoded, each in a thread of its own, while one is
        stored here. So a kill costs at most the three of them.
        """
        report = IngestReport()
        under_way = UnderWay()
        with self._encoded_ahead(self._read(rows, under_way)) as encoded:
            for batch, documents in encoded:
                if isinstance(documents, Exception):
                    raise documents
                report.unchanged += batch.unchanged
                report.refused += batch.refused
                self._put_and_count(documents, report)
                under_way.remove([row.document for row in documents])
                on_progress(report)
        return report

    def ingest_together(
        self, documents: Sequence[Document], note: Callable[[list[Refused]], tuple[str, str]]
    ) -> list[Refused]:
        """Store documents and what `note` returns in one transaction; returns the refused ones.

        Long documents are staged: `index_some` encodes them in slices. No id may occur twice. If no
        document is new or changed, nothing is written, not even the note. Raises `ModelError`, and
        the errors of `Store.put`.
        """
        refused: list[Refused] = []
        new = self._changed(documents, UnderWay())
        short = [document for document in new if len(document.text) <= LONG_CHARS]
        chunks = list(self._accepted(short, refused))
        long = [document for document in new if len(document.text) > LONG_CHARS]
        long = list(self._with_text(long, refused))
        if chunks or long:
            encoded = self._documents.encode(chunks) if chunks else []
            self._put(encoded, note(refused), long)
        return refused

    def index_waiting(self, on_progress: Callable[[int], None] = lambda _done: None) -> int:
        """Encode all documents that wait, as `ingest` does new ones; returns how many are done.

        A document that cannot be encoded stops waiting: its `problem` says why.
        """
        done = 0
        with self._encoded_ahead(self._waiting()) as encoded:
            for batch, documents in encoded:
                if not isinstance(documents, Exception):
                    self._publish([(batch.staged[row.document.id], row) for row in documents])
                    done += len(documents)
                    on_progress(done)
        # Those of a batch that failed, one by one, and those that a server has begun.
        while more := self.index_staged():
            done += more
            on_progress(done)
        return done

    def index_some(self) -> IndexStep:
        """Encode a few of the waiting documents, and let searches see those that are complete.

        A document that cannot be encoded stops waiting: its `problem` says why.
        """
        return self._staged.step()

    def index_staged(self) -> int:
        """Repeat `index_some` until a document is done; returns how many are, 0 at the end."""
        while True:
            done, worked = self.index_some()
            if done or not worked:
                return done

    def _read(self, rows: Iterable[Document | Refused], under_way: UnderWay) -> Iterator[Batch]:
        """The rows in batches, at least one; no id occurs twice in a batch."""
        batch = Batch()
        for lot in lots(rows, self._lot):
            documents = [row for row in lot if isinstance(row, Document)]
            batch.refused += [row for row in lot if isinstance(row, Refused)]
            new = self._changed(documents, under_way)
            batch.unchanged += len(documents) - len(new)
            for chunked in self._accepted(new, batch.refused):
                if chunked.document.id in batch.chunks:
                    yield batch
                    batch = Batch()
                batch.add(chunked)
                under_way.add(chunked.document)
                if self._is_full(batch):
                    yield batch
                    batch = Batch()
        yield batch

    def _is_full(self, batch: Batch) -> bool:
        enough = batch.tokens >= self._batch_tokens
        return enough or len(batch.chunks) >= _MOST_LOTS * self._lot

    def _waiting(self) -> Iterator[Batch]:
        """The documents that wait and have text, in batches."""
        batch = Batch()
        waiting = self._waiting_documents()
        for lot in row_batches(waiting, lambda row: len(row.document.text), LOT_CHARS, self._lot):
            chunks = self._documents.chunk([row.document for row in lot])
            for row, found in zip(lot, chunks, strict=True):
                if isinstance(found, Chunked):
                    batch.add(found)
                    batch.staged[row.document.id] = row
                if self._is_full(batch):
                    yield batch
                    batch = Batch()
        yield batch

    def _waiting_documents(self) -> Iterator[StagedDocument]:
        after = 0
        while True:
            with self._store.view() as view:
                rows = view.waiting(_LOT, after=after)
            if not rows:
                return
            yield from rows
            after = rows[-1].version

    @contextmanager
    def _encoded_ahead(
        self, batches: Iterable[Batch]
    ) -> Iterator[Iterator[tuple[Batch, list[EncodedDocument] | ModelError | RuntimeError]]]:
        """Each batch with its documents' vectors, or with why they have none."""

        def encoded(
            batch: Batch,
        ) -> tuple[Batch, list[EncodedDocument] | ModelError | RuntimeError]:
            chunks = list(batch.chunks.values())
            try:
                return batch, self._documents.encode(chunks) if chunks else []
            except (ModelError, RuntimeError) as error:  # torch raises the latter
                return batch, error

        with (
            ahead(batches, "reading") as read,
            ahead(map(encoded, read), "encoding") as done,
        ):
            yield done

    def _changed(self, documents: Sequence[Document], under_way: UnderWay) -> list[Document]:
        # Asked before the store is read, which has what was stored meanwhile.
        coming = under_way.content_hashes(documents)
        with self._store.view() as view:
            known = view.content_hashes([document.id for document in documents]) | coming
        return [d for d in documents if known.get(d.id) != d.content_hash]

    def _accepted(self, documents: Sequence[Document], refused: list[Refused]) -> Iterator[Chunked]:
        """The passages of each document; those without any are added to `refused`."""
        chunks = self._documents.chunk(documents)
        for document, found in zip(documents, chunks, strict=True):
            if isinstance(found, Chunked):
                yield found
            else:
                refused.append(_refused(document, found))

    def _with_text(
        self, documents: Sequence[Document], refused: list[Refused]
    ) -> Iterator[Document]:
        """The documents that have passages; the others are added to `refused`."""
        for document in documents:
            try:
                self._documents.require_text(document)
            except UnprocessableTextError as error:
                refused.append(_refused(document, error))
            else:
                yield document

    def _put_and_count(self, rows: Sequence[EncodedDocument], report: IngestReport) -> None:
        if rows:
            with self._store.view() as view:
                known = view.content_hashes([row.document.id for row in rows])
            self._put(rows)
            report.added += len(rows) - len(known)
            report.updated += len(known)
            report.passages += sum(len(row.spans) for row in rows)

    def _put(
        self,
        rows: Sequence[EncodedDocument],
        note: tuple[str, str] | None = None,
        staged: Sequence[Document] = (),
    ) -> None:
        self._write(rows, partial(self._store.put, rows, note, staged))

    def _publish(self, rows: Sequence[tuple[StagedDocument, EncodedDocument]]) -> None:
        self._write([encoded for _, encoded in rows], partial(self._store.publish, rows))

    def _write(self, rows: Sequence[EncodedDocument], write: Callable[[], list[list[int]]]) -> None:
        if self._states:
            self._states.store(rows, write)
        else:
            write()


def _refused(document: Document, error: UnprocessableTextError) -> Refused:
    return Refused(document.id, None, error.field, str(error))
