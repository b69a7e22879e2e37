"""From documents to stored vectors: chunk, encode, store, in batches that are each durable."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from service.errors import InferenceError, UnprocessableTextError
from service.index.document_store import DocumentStore
from service.index.records import EncodedDocument, StagedDocument, content_hash
from service.protocols import Encoder
from service.text.normalizer import normalize
from service.text.passage import fit_title, passage_input, split_document
from service.types import Document, Refused, Span

log = logging.getLogger(__name__)

BATCH_PASSAGES = 64
"""Passages that are encoded and stored together: what a kill can cost, at most."""

STAGED_DOCUMENTS = 32
STAGED_PASSAGES = 8
"""Of documents that wait, few are shown to searches at a time, and so soon."""

NEWEST_FIRST = 8
"""Of these, so many are the newest, lest one that is sent alone waits behind a thousand others."""


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
class _Chunked:
    document: Document
    spans: Sequence[Span]
    inputs: Sequence[str]


class Ingestor:
    """Puts documents into a store. Documents that are there already, unchanged, cost nothing."""

    def __init__(
        self, store: DocumentStore, encoder: Encoder, *, overlap: int, chunked: bool = True
    ) -> None:
        """Take `overlap` in tokens.

        Where it is not `chunked`, a document is one passage of which the encoder reads what fits
        its window: the way published figures are measured.
        """
        self._store, self._encoder = store, encoder
        self._overlap, self._chunked = overlap, chunked

    def ingest(
        self,
        rows: Iterable[Document | Refused],
        on_progress: Callable[[IngestReport], None] = lambda _report: None,
    ) -> IngestReport:
        """Store all rows; `on_progress` hears of each batch once it is durable."""
        report = IngestReport()
        batch: dict[str, _Chunked] = {}
        for row in rows:
            if isinstance(row, Document) and row.id in batch:
                # Its last version counts, as with two uploads: also one that is stored now already.
                self._flush(batch, report, on_progress)
            chunked = self._chunk(row, report)
            if chunked is None:
                continue
            batch[chunked.document.id] = chunked
            if sum(len(c.spans) for c in batch.values()) >= BATCH_PASSAGES:
                self._flush(batch, report, on_progress)
        self._flush(batch, report, on_progress)
        return report

    def ingest_together(
        self, documents: Sequence[Document], note: Callable[[list[Refused]], tuple[str, str]]
    ) -> list[Refused]:
        """Store documents in one transaction, and with them what `note` says; returns the refused.

        No id may be there twice. Where no document is new or changed, nothing is written, no note
        either. Raises `ModelError`, and as `DocumentStore.put`.
        """
        report = IngestReport()
        chunks = [c for document in documents if (c := self._chunk(document, report))]
        if chunks:
            self._store.put(self._encode(chunks), note(report.refused))
        return report.refused

    def index_staged(self) -> int:
        """Encode some of the documents that wait, and let searches see them; returns how many.

        One that cannot be encoded waits no longer: its `problem` says why.
        """
        with self._store.view() as view:
            newest = view.staged(NEWEST_FIRST, newest=True)
            oldest = view.staged(STAGED_DOCUMENTS - NEWEST_FIRST)
        waiting = list({row.version: row for row in [*newest, *oldest]}.values())
        chunked: list[tuple[StagedDocument, _Chunked]] = []
        for staged in waiting:
            try:
                chunked.append((staged, self._split(staged.document)))
            except UnprocessableTextError as error:
                self._store.set_problem(staged, str(error))
        for batch in _batches(chunked):
            self._publish(batch)
        return len(waiting)

    def _publish(self, batch: Sequence[tuple[StagedDocument, _Chunked]]) -> None:
        try:
            encoded = self._encode([chunks for _, chunks in batch])
            staged = [staged for staged, _ in batch]
            self._store.publish(list(zip(staged, encoded, strict=True)))
        except (InferenceError, RuntimeError) as error:  # the latter is what torch raises
            if len(batch) == 1:
                if isinstance(error, RuntimeError):
                    log.error("a document cannot be encoded", exc_info=error)
                    error = InferenceError("the encoder failed on it; the server's log says why")
                self._store.set_problem(batch[0][0], str(error))
                return
            for row in batch:  # none waits for another one that cannot be encoded
                self._publish([row])

    def _chunk(self, row: Document | Refused, report: IngestReport) -> _Chunked | None:
        if isinstance(row, Refused):
            report.refused.append(row)
            return None
        known = self._store.content_hashes([row.id])
        if known.get(row.id) == content_hash(row):
            report.unchanged += 1
            return None
        try:
            return self._split(row)
        except UnprocessableTextError as error:
            report.refused.append(Refused(row.id, None, error.field, str(error)))
            return None

    def _split(self, document: Document) -> _Chunked:
        encoder = self._encoder
        budget, count_tokens = encoder.passage_budget, encoder.count_tokens
        if self._chunked:
            spans = split_document(
                document, budget=budget, overlap=self._overlap, count_tokens=count_tokens
            )
        else:
            spans = [Span(0, len(document.text))]
        title = fit_title(document.title, budget=budget, count_tokens=count_tokens)
        prefixes = (encoder.identity.query_prefix, encoder.identity.passage_prefix)
        kept, inputs = [], []
        for span in spans:
            # NFC at most triples a text; what fits the window is no matter of characters.
            text = passage_input(title, document.text[span.start : span.end])
            try:
                cleaned = normalize(text, max_chars=3 * len(text), prefixes=prefixes, field="text")
            except UnprocessableTextError:  # nothing in it that a reader could see
                continue
            kept.append(span)
            inputs.append(cleaned.text)
        if not kept:
            raise UnprocessableTextError("nothing is left of the text once it is cleaned", "text")
        return _Chunked(document, kept, inputs)

    def _encode(self, chunks: Sequence[_Chunked]) -> list[EncodedDocument]:
        vectors = self._encoder.encode_passages([text for c in chunks for text in c.inputs])
        encoded, start = [], 0
        for chunk in chunks:
            end = start + len(chunk.spans)
            encoded.append(EncodedDocument(chunk.document, chunk.spans, vectors[start:end]))
            start = end
        return encoded

    def _flush(
        self,
        batch: dict[str, _Chunked],
        report: IngestReport,
        on_progress: Callable[[IngestReport], None],
    ) -> None:
        if batch:
            chunks = list(batch.values())
            encoded = self._encode(chunks)
            before = self._store.content_hashes([c.document.id for c in chunks])
            self._store.put(encoded)
            report.updated += len(before)
            report.added += len(chunks) - len(before)
            report.passages += sum(len(row.spans) for row in encoded)
            batch.clear()
        on_progress(report)


def _batches(
    rows: Sequence[tuple[StagedDocument, _Chunked]],
) -> Iterator[list[tuple[StagedDocument, _Chunked]]]:
    batch: list[tuple[StagedDocument, _Chunked]] = []
    passages = 0
    for row in rows:
        batch.append(row)
        passages += len(row[1].spans)
        if passages >= STAGED_PASSAGES:
            yield batch
            batch, passages = [], 0
    if batch:
        yield batch
