"""Documents become passages with vectors: chunk, then encode."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.documents.rows import is_unicode
from service.errors import UnprocessableTextError
from service.protocols import Encoder
from service.scheduling.background import Background
from service.text.chunker import TokenCounter
from service.text.normalizer import break_up
from service.text.passage import (
    CutDocument,
    cut_document,
    headings_end,
    passage_text,
    title_end,
)
from service.types import Document, EncodedDocument, Span, Vectors
from service.write.passage_states import PassageStates


@dataclass(frozen=True, slots=True)
class Chunked:
    """A document and its passages; `inputs` are the texts that models read, without a prefix.

    Each text begins with the title up to `title_end` and its headings up to `headings_end`.
    `tokens` are those of the document's text.
    """

    document: Document
    spans: Sequence[Span]
    inputs: Sequence[str]
    title_end: int
    headings_end: int | None
    tokens: int

    def encoded(self, vectors: Vectors, packed: Sequence[bytes | None]) -> EncodedDocument:
        """The document with what was made of its passages."""
        return EncodedDocument(
            self.document, self.spans, vectors, self.title_end, packed, self.headings_end
        )


class DocumentEncoder:
    """Cuts documents into passages and encodes these. The parameters are those of `Ingestor`."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        overlap: int,
        chunked: bool = True,
        background: Background | None = None,
        states: PassageStates | None = None,
    ) -> None:
        self._encoder, self._overlap, self._chunked = encoder, overlap, chunked
        self._background, self._states = background, states
        self._prefixes = encoder.identity.prefixes

    def chunk(self, documents: Sequence[Document]) -> Iterator[Chunked | UnprocessableTextError]:
        """The passages of each document, or why it has none."""
        count_tokens = self._counter(documents)
        for document in documents:
            try:
                yield self._chunk(document, count_tokens)
            except UnprocessableTextError as error:
                yield error

    def require_text(self, document: Document) -> None:
        """Raise `UnprocessableTextError` if a document has no passages, without cutting it."""
        if not passage_text(document.title, document.text, self._prefixes):
            raise _nothing_left()

    def encode(self, chunks: Sequence[Chunked]) -> list[EncodedDocument]:
        """The same documents with a vector for each passage, and its token states if kept."""
        texts = [text for c in chunks for text in c.inputs]
        vectors = np.empty((len(texts), self._encoder.identity.dimension), np.float32)
        packed: list[bytes | None] = [None] * len(texts)

        def encode(places: Sequence[int]) -> None:
            part = [texts[place] for place in places]
            if self._states is None:
                vectors[places] = self._encoder.encode_passages(part)
                return
            vectors[places], states = self._states.encode(self._encoder, part)
            for place, data in zip(places, states, strict=True):
                packed[place] = data

        if self._background:
            self._background.encode(encode, texts)
        else:
            encode(range(len(texts)))
        encoded, start = [], 0
        for c in chunks:
            own = slice(start, start + len(c.spans))
            encoded.append(c.encoded(vectors[own], packed[own]))
            start += len(c.spans)
        return encoded

    def _counter(self, documents: Iterable[Document]) -> TokenCounter:
        """Counts the tokens of whole texts and titles in one call, which is faster."""
        count_tokens = self._encoder.count_tokens
        whole = [document.text.strip() for document in documents]
        titles = {document.title.strip() for document in documents} - {""}
        asked = map(break_up, {*whole, *titles, *(f"{title} " for title in titles)})
        texts = list({text for text in asked if is_unicode(text)})
        known = dict(zip(texts, count_tokens(texts), strict=True)) if texts else {}

        def count(texts: Sequence[str]) -> list[int]:
            missing = [text for text in texts if text not in known]
            fresh = iter(count_tokens(missing) if missing else [])
            return [known[text] if text in known else next(fresh) for text in texts]

        return count

    def _chunk(self, document: Document, count_tokens: TokenCounter) -> Chunked:
        budget = self._encoder.passage_budget
        if self._chunked:
            cut = cut_document(
                document, budget=budget, overlap=self._overlap, count_tokens=count_tokens
            )
        else:
            end = title_end(document.title, window=budget, count_tokens=count_tokens)
            last = headings_end(document.outline, window=budget, count_tokens=count_tokens)
            cut = CutDocument([Span(0, len(document.text))], end, last)
        title = document.title[: cut.title_end]
        texts = [
            passage_text(
                document.place(span.start).under(title, cut.headings_end),
                document.text[span.start : span.end],
                self._prefixes,
            )
            for span in cut.spans
        ]
        # A passage without text has nothing that a reader could see.
        kept = [span for span, text in zip(cut.spans, texts, strict=True) if text]
        if not kept:
            raise _nothing_left()
        (tokens,) = count_tokens([break_up(document.text.strip())])
        inputs = list(filter(None, texts))
        return Chunked(document, kept, inputs, cut.title_end, cut.headings_end, tokens)


def _nothing_left() -> UnprocessableTextError:
    return UnprocessableTextError("nothing is left of the text once it is cleaned", "text")
