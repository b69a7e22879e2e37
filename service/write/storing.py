"""Batches of documents on their way into a store, each encoded and stored in one go."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from service.store.document_store import DocumentStore
from service.store.records import EncodedDocument
from service.types import Document, Refused, Span


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
        """Rows dealt with."""
        return self.added + self.updated + self.unchanged + len(self.refused)


@dataclass(frozen=True, slots=True)
class Chunked:
    """A document, its passages, and the text of each as models read it, without a prefix.

    They read the title up to `title_end`.
    """

    document: Document
    spans: Sequence[Span]
    inputs: Sequence[str]
    title_end: int


class Storing:
    """Takes documents one by one and stores them, in their order, `most` passages at a time.

    Each batch is one transaction, and counts in `report` once it is durable. While one is stored by
    a thread of its own the next is encoded, where `overlapped`: never more than these two.
    """

    def __init__(
        self,
        store: DocumentStore,
        encode: Callable[[Sequence[Chunked]], list[EncodedDocument]],
        write: Callable[[Sequence[EncodedDocument]], None],
        on_progress: Callable[[IngestReport], None],
        *,
        most: int,
        overlapped: bool,
    ) -> None:
        self.report = IngestReport()
        self._store, self._encode, self._write = store, encode, write
        self._on_progress = on_progress
        self._most, self._overlapped = most, overlapped
        self._batch: dict[str, Chunked] = {}
        self._passages = 0
        self._under_way: dict[str, Chunked] = {}
        self._stored: Future[IngestReport] | None = None
        self._thread = ThreadPoolExecutor(1, "storing")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()

    def has(self, id_: str) -> bool:
        """Whether a document of this id is not stored yet."""
        return id_ in self._batch or id_ in self._under_way

    def add(self, chunked: Chunked) -> None:
        """Take a document whose id it has not; raises what encoding and storing raise."""
        self._batch[chunked.document.id] = chunked
        self._passages += len(chunked.spans)
        if self._passages >= self._most:
            self._send()

    def finish(self) -> None:
        """Store what there is, and wait until it is durable."""
        if self._batch:
            self._send()
        self._settle()

    def _send(self) -> None:
        batch, self._batch, self._passages = self._batch, {}, 0
        encoded = self._encode(list(batch.values()))
        self._settle()
        self._under_way = batch
        self._stored = self._thread.submit(self._put, encoded)
        if not self._overlapped:
            self._settle()

    def _put(self, encoded: Sequence[EncodedDocument]) -> IngestReport:
        known = self._store.content_hashes([row.document.id for row in encoded])
        self._write(encoded)
        passages = sum(len(row.spans) for row in encoded)
        return IngestReport(len(encoded) - len(known), len(known), passages=passages)

    def _settle(self) -> None:
        if self._stored is None:
            return
        stored, self._stored = self._stored, None
        done = stored.result()
        self._under_way = {}
        self.report.added += done.added
        self.report.updated += done.updated
        self.report.passages += done.passages
        self._on_progress(self.report)
