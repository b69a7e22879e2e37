"""From documents to stored vectors: chunk, encode, store, in batches that are each durable."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from service.errors import UnprocessableTextError
from service.protocols import Encoder
from service.scheduling.background import Background
from service.store.document_store import DocumentStore
from service.store.metadata_values import is_unicode
from service.store.records import EncodedDocument, StagedDocument, content_hash
from service.text.chunker import TokenCounter
from service.text.control_tokens import break_up
from service.text.passage import CutDocument, cut_document, passage_text, title_end
from service.types import Document, Refused, Span
from service.write.passage_states import PassageStates
from service.write.staged import LONG_CHARS, StagedDocuments, Step
from service.write.storing import Chunked, IngestReport, Storing

log = logging.getLogger(__name__)

BATCH_PASSAGES = 64
STATIC_BATCH_PASSAGES = 2048
"""Passages that are encoded and stored together, by a static encoder in about a second. Of its
batches one is encoded while another is stored: a kill can cost two of them, at most."""

_LOT_CHARS = 1 << 22
"""Characters of documents that are read before the first is encoded, about."""


class Ingestor:
    """Puts documents into a store. Documents that are there already, unchanged, cost nothing."""

    def __init__(
        self,
        store: DocumentStore,
        encoder: Encoder,
        *,
        overlap: int,
        chunked: bool = True,
        background: Background | None = None,
        states: PassageStates | None = None,
    ) -> None:
        """Take `overlap` in tokens. With `background`, encoding gives way to requests.

        Passages get their `states` where these come with the vectors.

        Where it is not `chunked`, a document is one passage of which the encoder reads what fits
        its window: the way published figures are measured.
        """
        self._store, self._encoder = store, encoder
        self._overlap, self._chunked = overlap, chunked
        self._background, self._states = background, states
        self._staged = StagedDocuments(store, self._split_all, self._encode, self._publish)
        self._most = STATIC_BATCH_PASSAGES if encoder.static else BATCH_PASSAGES

    def ingest(
        self,
        rows: Iterable[Document | Refused],
        on_progress: Callable[[IngestReport], None] = lambda _report: None,
    ) -> IngestReport:
        """Store all rows; `on_progress` hears of each batch once it is durable."""
        storing = Storing(
            self._store,
            self._encode,
            self._put,
            on_progress,
            most=self._most,
            overlapped=self._encoder.static,
        )
        with storing:
            for lot in _lots(rows, self._most, storing.has):
                # An id's last version counts, as with two uploads: also one that is stored by then.
                if any(isinstance(row, Document) and storing.has(row.id) for row in lot):
                    storing.finish()
                for chunked in self._chunk(lot, storing.report):
                    storing.add(chunked)
            storing.finish()
        on_progress(storing.report)
        return storing.report

    def ingest_together(
        self, documents: Sequence[Document], note: Callable[[list[Refused]], tuple[str, str]]
    ) -> list[Refused]:
        """Store documents in one transaction, and with them what `note` says; returns the refused.

        Long ones are staged: `index_some` encodes them in slices. No id may be there twice. Where
        no document is new or changed, nothing is written, no note either. Raises `ModelError`, and
        as `DocumentStore.put`.
        """
        report = IngestReport()
        new = self._new(documents)
        staged = [document for document in new if len(document.text) > LONG_CHARS]
        chunks = list(self._accepted([d for d in new if len(d.text) <= LONG_CHARS], report))
        if chunks or staged:
            encoded = self._encode(chunks) if chunks else []
            self._put(encoded, note(report.refused), staged)
        return report.refused

    def index_some(self) -> Step:
        """Encode a little of what waits, and let searches see documents that are whole.

        One that cannot be encoded waits no longer: its `problem` says why.
        """
        return self._staged.step()

    def index_staged(self) -> int:
        """As `index_some`, until a document waits no longer; returns how many do not, at last 0."""
        while True:
            done, worked = self.index_some()
            if done or not worked:
                return done

    def _chunk(self, rows: Sequence[Document | Refused], report: IngestReport) -> Iterator[Chunked]:
        """Those of `rows`, no id twice, that are to be stored; of the others `report` hears."""
        documents = [row for row in rows if isinstance(row, Document)]
        report.refused += [row for row in rows if isinstance(row, Refused)]
        new = self._new(documents)
        report.unchanged += len(documents) - len(new)
        yield from self._accepted(new, report)

    def _new(self, documents: Sequence[Document]) -> list[Document]:
        """Those that are not stored as they are."""
        known = self._store.content_hashes([document.id for document in documents])
        return [d for d in documents if known.get(d.id) != content_hash(d)]

    def _accepted(self, documents: Sequence[Document], report: IngestReport) -> Iterator[Chunked]:
        """The passages of each document; of those that have none `report` hears."""
        for document, found in zip(documents, self._split_all(documents), strict=True):
            if isinstance(found, Chunked):
                yield found
            else:
                report.refused.append(Refused(document.id, None, found.field, str(found)))

    def _split_all(
        self, documents: Sequence[Document]
    ) -> Iterator[Chunked | UnprocessableTextError]:
        count_tokens = self._counter(documents)
        for document in documents:
            try:
                yield self._split(document, count_tokens)
            except UnprocessableTextError as error:
                yield error

    def _counter(self, documents: Iterable[Document]) -> TokenCounter:
        """Knows the tokens of whole texts and titles, counted together: faster than one by one."""
        count_tokens = self._encoder.count_tokens
        whole = [document.text.strip() for document in documents if self._chunked]
        titles = {document.title.strip() for document in documents} - {""}
        asked = map(break_up, {*whole, *titles, *(f"{title} " for title in titles)})
        texts = list({text for text in asked if is_unicode(text)})
        known = dict(zip(texts, count_tokens(texts), strict=True)) if texts else {}

        def count(texts: Sequence[str]) -> list[int]:
            missing = [text for text in texts if text not in known]
            fresh = iter(count_tokens(missing) if missing else [])
            return [known[text] if text in known else next(fresh) for text in texts]

        return count

    def _split(self, document: Document, count_tokens: TokenCounter) -> Chunked:
        encoder = self._encoder
        budget = encoder.passage_budget
        if self._chunked:
            cut = cut_document(
                document, budget=budget, overlap=self._overlap, count_tokens=count_tokens
            )
        else:
            end = title_end(document.title, window=budget, count_tokens=count_tokens)
            cut = CutDocument([Span(0, len(document.text))], end)
        prefixes = (encoder.identity.query_prefix, encoder.identity.passage_prefix)
        title, kept, inputs = document.title[: cut.title_end], [], []
        for span in cut.spans:
            text = passage_text(title, document.text[span.start : span.end], prefixes)
            if text:  # else nothing in it that a reader could see
                kept.append(span)
                inputs.append(text)
        if not kept:
            raise UnprocessableTextError("nothing is left of the text once it is cleaned", "text")
        return Chunked(document, kept, inputs, cut.title_end)

    def _encode(self, chunks: Sequence[Chunked]) -> list[EncodedDocument]:
        texts = [text for c in chunks for text in c.inputs]
        vectors = np.empty((len(texts), self._encoder.identity.dimension), np.float32)
        packed: list[bytes | None] = [None] * len(texts)

        def encode(places: Sequence[int]) -> None:
            own = [texts[place] for place in places]
            if self._states is None:
                vectors[places] = self._encoder.encode_passages(own)
                return
            vectors[places], found = self._states.encode(self._encoder, own)
            for place, data in zip(places, found, strict=True):
                packed[place] = data

        if self._background:
            self._background.encode(encode, texts)
        else:
            encode(range(len(texts)))
        encoded, start = [], 0
        for chunk in chunks:
            part = slice(start, start + len(chunk.spans))
            encoded.append(
                EncodedDocument(
                    chunk.document, chunk.spans, vectors[part], chunk.title_end, packed[part]
                )
            )
            start += len(chunk.spans)
        return encoded

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


def _lots(
    rows: Iterable[Document | Refused], most: int, stored_later: Callable[[str], bool]
) -> Iterator[list[Document | Refused]]:
    """The rows, at most `most` at a time; a document that is to take another's place begins one."""
    lot: list[Document | Refused] = []
    ids: set[str] = set()
    chars = 0
    for row in rows:
        again = isinstance(row, Document) and (row.id in ids or stored_later(row.id))
        if lot and (again or len(lot) >= most or chars >= _LOT_CHARS):
            yield lot
            lot, ids, chars = [], set(), 0
        lot.append(row)
        if isinstance(row, Document):
            ids.add(row.id)
            chars += len(row.text)
    if lot:
        yield lot
