"""Documents that wait for their vectors: short ones overtake, long ones are encoded in slices."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache

from service.errors import InferenceError, UnprocessableTextError
from service.store_protocol import Store
from service.types import EncodedDocument, StagedDocument
from service.write.document_encoder import Chunked, DocumentEncoder
from service.write.row_batches import row_batches

log = logging.getLogger(__name__)

STAGED_DOCUMENTS = 24
NEWEST_FIRST = 8
"""Documents of a step: some of the oldest and some of the newest, so that a document that is sent
alone does not wait behind a thousand others."""

LONG_CHARS = 8_000
"""A longer text is encoded in slices, after the shorter ones that wait."""

STEP_CHARS = 32_000
"""About the characters of short documents in a step; the newest ones get a quarter of it."""

STAGED_PASSAGES = 8
"""Passages that are encoded and stored together: few, so that searches see them soon. This is also
the size of a slice of a long document, and the most that a kill costs it."""

_LONG_IN_MEMORY = 2
"""Long documents whose passages are in memory: the oldest and the shortest take turns."""

Publish = Callable[[Sequence[tuple[StagedDocument, EncodedDocument]]], None]


@dataclass(frozen=True, slots=True)
class _LongDocument:
    """A long document that is being encoded; `packed` has its states so far, by place."""

    chunked: Chunked
    packed: dict[int, bytes | None] = field(default_factory=dict)


class IndexStep(NamedTuple):
    """What a step did: documents that no longer wait, and whether there was anything to do."""

    done: int
    worked: bool


class StagedDocuments:
    """Encodes what waits in a store, a little at a time. For one thread.

    Each step encodes some short documents and one slice of a long one. The oldest and the shortest
    long document take turns, so that none waits for ever. The store keeps finished slices; searches
    see a long document once its last slice is done.
    """

    def __init__(self, store: Store, documents: DocumentEncoder, publish: Publish) -> None:
        self._store, self._documents, self._publish = store, documents, publish
        self._shortest_next = False
        self._long: LRUCache[int, _LongDocument] = LRUCache(_LONG_IN_MEMORY)
        """By version. Chunking one takes seconds."""

    def step(self) -> IndexStep:
        """Do some of what there is to do."""
        with self._store.view() as view:
            newest = view.waiting(NEWEST_FIRST, newest=True)
            oldest = view.waiting(STAGED_DOCUMENTS)
        waiting = {row.version: row for row in [*newest, *oldest]}
        long = [row for row in waiting.values() if len(row.document.text) > LONG_CHARS]
        if long:
            self._store.set_aside(long)
        chosen = _first(newest, STEP_CHARS // 4) | _first(oldest, STEP_CHARS)
        self._index_short(list(chosen.values()))
        finished = self._index_slice()
        return IndexStep(len(chosen) + bool(finished), bool(waiting) or finished is not None)

    def _index_short(self, rows: Sequence[StagedDocument]) -> None:
        chunked: list[tuple[StagedDocument, Chunked]] = []
        chunks = self._documents.chunk([row.document for row in rows])
        for row, found in zip(rows, chunks, strict=True):
            if isinstance(found, Chunked):
                chunked.append((row, found))
            else:
                self._store.set_problem(row, str(found))
        for batch in row_batches(chunked, lambda row: len(row[1].spans), STAGED_PASSAGES):
            self._index_batch(batch)

    def _index_batch(self, batch: Sequence[tuple[StagedDocument, Chunked]]) -> None:
        try:
            encoded = self._documents.encode([chunks for _, chunks in batch])
            self._publish(list(zip((row for row, _ in batch), encoded, strict=True)))
        except (InferenceError, RuntimeError) as error:  # torch raises the latter
            if len(batch) == 1:
                self._give_up(batch[0][0], error)
                return
            for row in batch:  # one that cannot be encoded must not hold up the others
                self._index_batch([row])

    def _give_up(self, staged: StagedDocument, error: InferenceError | RuntimeError) -> None:
        if isinstance(error, RuntimeError):
            log.error("a document cannot be encoded", exc_info=error)
            error = InferenceError("the encoder failed on it; the server's log says why")
        self._store.set_problem(staged, str(error))

    def _index_slice(self) -> bool | None:
        """Encode a slice of a long document; True if it was the last, None without a document."""
        self._shortest_next = not self._shortest_next
        with self._store.view() as view:
            found = view.next_long(shortest=self._shortest_next)
        if found is None:
            self._long.clear()
            return None
        row, first = found
        long = self._chunked(row)
        if isinstance(long, UnprocessableTextError):
            self._store.set_problem(row, str(long))
            return True
        chunked, end = long.chunked, first + STAGED_PASSAGES
        part = replace(chunked, spans=chunked.spans[first:end], inputs=chunked.inputs[first:end])
        try:
            if part.spans:
                (encoded,) = self._documents.encode([part])
                self._store.keep_slice(row, first, encoded)
                long.packed.update(enumerate(encoded.packed, first))
            if end < len(chunked.spans):
                return False
            self._publish_long(row, long)
        except (InferenceError, RuntimeError) as error:
            self._give_up(row, error)
        self._long.pop(row.version, None)
        return True

    def _chunked(self, row: StagedDocument) -> _LongDocument | UnprocessableTextError:
        if row.version not in self._long:
            (found,) = self._documents.chunk([row.document])
            if isinstance(found, UnprocessableTextError):
                return found
            self._long[row.version] = _LongDocument(found)
        return self._long[row.version]

    def _publish_long(self, row: StagedDocument, long: _LongDocument) -> None:
        with self._store.view() as view:
            spans, vectors = view.slices(row)
        if not spans:  # written again or deleted meanwhile
            return
        if spans != list(long.chunked.spans) or not np.isfinite(vectors).all():
            # Another version of this program chunked it differently.
            self._store.set_aside([row])
            return
        packed = [long.packed.get(place) for place in range(len(spans))]
        self._publish([(row, long.chunked.encoded(vectors, packed))])


def _first(rows: Sequence[StagedDocument], chars: int) -> dict[int, StagedDocument]:
    """The first short ones by version, until they have that many characters; at least one."""
    short = [row for row in rows if len(row.document.text) <= LONG_CHARS]
    before = accumulate((len(row.document.text) for row in short), initial=0)
    pairs = zip(short, before, strict=False)
    return {row.version: row for row, chars_before in pairs if chars_before < chars}
