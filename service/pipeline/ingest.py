"""From documents to stored vectors: chunk, encode, store, in batches that are each durable."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.errors import UnprocessableTextError
from service.index.document_store import DocumentStore
from service.index.records import EncodedDocument, content_hash
from service.protocols import Encoder
from service.text.normalizer import normalize
from service.text.passage import fit_title, passage_input, split_document
from service.types import Document, Refused, Span

BATCH_PASSAGES = 64
"""Passages that are encoded and stored together: what a kill can cost, at most."""


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
            chunked = self._chunk(row, report)
            if chunked is None:
                continue
            if chunked.document.id in batch:  # its last version counts, as with two uploads
                self._flush(batch, report, on_progress)
            batch[chunked.document.id] = chunked
            if sum(len(c.spans) for c in batch.values()) >= BATCH_PASSAGES:
                self._flush(batch, report, on_progress)
        self._flush(batch, report, on_progress)
        return report

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
        inputs = []
        for start, end in spans:
            # NFC at most triples a text; what fits the window is no matter of characters.
            text = passage_input(title, document.text[start:end])
            inputs.append(
                normalize(text, max_chars=3 * len(text), prefixes=prefixes, field="text").text
            )
        return _Chunked(document, spans, inputs)

    def _flush(
        self,
        batch: dict[str, _Chunked],
        report: IngestReport,
        on_progress: Callable[[IngestReport], None],
    ) -> None:
        if batch:
            chunks = list(batch.values())
            vectors = self._encoder.encode_passages([t for c in chunks for t in c.inputs])
            encoded, start = [], 0
            for chunk in chunks:
                end = start + len(chunk.spans)
                encoded.append(EncodedDocument(chunk.document, chunk.spans, vectors[start:end]))
                start = end
            before = self._store.content_hashes([c.document.id for c in chunks])
            self._store.put(encoded)
            report.updated += len(before)
            report.added += len(chunks) - len(before)
            report.passages += len(vectors)
            batch.clear()
        on_progress(report)
