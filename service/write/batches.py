"""What an ingest has in memory: documents that are read, encoded and stored together."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from service.types import Document, Refused, StagedDocument
from service.write.document_encoder import Chunked

LOT_CHARS = 1 << 22
"""About the characters of documents that are read before the first one is encoded."""


@dataclass(slots=True)
class Batch:
    """Documents that are encoded and stored together, by id, and rows that were read with them."""

    chunks: dict[str, Chunked] = field(default_factory=dict)
    staged: dict[str, StagedDocument] = field(default_factory=dict)
    tokens: int = 0
    unchanged: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, chunked: Chunked) -> None:
        """One more document; it takes the place of another version."""
        self.chunks[chunked.document.id] = chunked
        self.tokens += chunked.tokens


class UnderWay:
    """The last version of each document that is read and not stored yet.

    One thread reads while another stores, so each method is one step for both.
    """

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._lock = threading.Lock()

    def add(self, document: Document) -> None:
        """Note a version that was read."""
        with self._lock:
            self._documents[document.id] = document

    def content_hashes(self, documents: Iterable[Document]) -> dict[str, str]:
        """By id, those of the last versions, for ids that are under way."""
        with self._lock:
            found = [self._documents.get(document.id) for document in documents]
        return {last.id: last.content_hash for last in found if last}

    def remove(self, documents: Sequence[Document]) -> None:
        """These versions are stored. A later version of the same document stays under way."""
        with self._lock:
            for document in documents:
                if self._documents.get(document.id) is document:
                    del self._documents[document.id]


def lots(rows: Iterable[Document | Refused], most: int) -> Iterator[list[Document | Refused]]:
    """The rows, at most `most` at a time; no id occurs twice in a lot."""
    lot: list[Document | Refused] = []
    ids: set[str] = set()
    chars = 0
    for row in rows:
        again = isinstance(row, Document) and row.id in ids
        if lot and (again or len(lot) >= most or chars >= LOT_CHARS):
            yield lot
            lot, ids, chars = [], set(), 0
        lot.append(row)
        if isinstance(row, Document):
            ids.add(row.id)
            chars += len(row.text)
    if lot:
        yield lot
