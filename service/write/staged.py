"""Documents that wait for their passages: short ones overtake, long ones are encoded in slices."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache

from service.errors import InferenceError, UnprocessableTextError
from service.store import unfinished
from service.store.document_store import DocumentStore
from service.store.records import EncodedDocument, StagedDocument
from service.types import Document
from service.write.storing import Chunked

log = logging.getLogger(__name__)

STAGED_DOCUMENTS = 24
NEWEST_FIRST = 8
"""Documents of a step: some of the oldest, and some of the newest, so that one that is sent alone
does not wait behind a thousand others."""

LONG_CHARS = 8_000
"""A longer text is encoded in slices, after the shorter ones that wait."""

STEP_CHARS = 32_000
"""Characters of short documents in a step, about; the newest of them have a quarter."""

STAGED_PASSAGES = 8
"""Passages that are encoded and stored together: few, so that searches see them soon. This is also
the size of a slice of a long document, and the most that a kill costs it."""

_KEPT_CUT = 2
"""Long documents whose passages are kept in memory: the oldest and the shortest take turns."""

Split = Callable[[Sequence[Document]], Iterable[Chunked | UnprocessableTextError]]
"""The passages of each document, or why there are none."""

Encode = Callable[[Sequence[Chunked]], list[EncodedDocument]]
Publish = Callable[[Sequence[tuple[StagedDocument, EncodedDocument]]], None]


@dataclass(frozen=True, slots=True)
class _Long:
    """A long document under way, and by place what is packed of its passages so far."""

    chunked: Chunked
    packed: dict[int, bytes | None] = field(default_factory=dict)


class Step(NamedTuple):
    """What a step did: documents that wait no longer, and whether there was anything to do."""

    done: int
    worked: bool


class StagedDocuments:
    """Encodes what waits in a store, a little at a time. For one thread.

    Each step takes some short documents and one slice of a long one, by turns of the oldest and of
    the shortest: none waits for all of another, and none waits for ever. What is made of a long
    one is kept in the store; searches see it whole, once its last slice is there.
    """

    def __init__(
        self, store: DocumentStore, split: Split, encode: Encode, publish: Publish
    ) -> None:
        self._store, self._split, self._encode = store, split, encode
        self._publish_rows = publish
        self._shortest = False
        self._long: LRUCache[int, _Long] = LRUCache(_KEPT_CUT)
        """By version: cutting takes seconds."""

    def step(self) -> Step:
        """Do some of what there is to do."""
        with self._store.view() as view:
            newest = unfinished.fresh(view.connection, NEWEST_FIRST, newest=True)
            oldest = unfinished.fresh(view.connection, STAGED_DOCUMENTS)
        waiting = {row.version: row for row in [*newest, *oldest]}.values()
        long = [row for row in waiting if len(row.document.text) > LONG_CHARS]
        if long:
            self._store.set_aside(long)
        known = {row.version for row in long}
        chosen = [
            *_some([row for row in newest if row.version not in known], STEP_CHARS // 4),
            *_some([row for row in oldest if row.version not in known], STEP_CHARS),
        ]
        short = list({row.version: row for row in chosen}.values())
        self._index(short)
        finished = self._slice()
        return Step(len(short) + bool(finished), bool(waiting) or finished is not None)

    def _index(self, rows: Sequence[StagedDocument]) -> None:
        chunked: list[tuple[StagedDocument, Chunked]] = []
        split = self._split([row.document for row in rows])
        for row, found in zip(rows, split, strict=True):
            if isinstance(found, Chunked):
                chunked.append((row, found))
            else:
                self._store.set_problem(row, str(found))
        for batch in _batches(chunked):
            self._publish(batch)

    def _publish(self, batch: Sequence[tuple[StagedDocument, Chunked]]) -> None:
        try:
            encoded = self._encode([chunks for _, chunks in batch])
            staged = [staged for staged, _ in batch]
            self._publish_rows(list(zip(staged, encoded, strict=True)))
        except (InferenceError, RuntimeError) as error:  # the latter is what torch raises
            if len(batch) == 1:
                self._give_up(batch[0][0], error)
                return
            for row in batch:  # none waits for another one that cannot be encoded
                self._publish([row])

    def _give_up(self, staged: StagedDocument, error: InferenceError | RuntimeError) -> None:
        if isinstance(error, RuntimeError):
            log.error("a document cannot be encoded", exc_info=error)
            error = InferenceError("the encoder failed on it; the server's log says why")
        self._store.set_problem(staged, str(error))

    def _slice(self) -> bool | None:
        """Encode the next slice of a long document; whether it was the last, None without one."""
        self._shortest = not self._shortest
        with self._store.view() as view:
            row = unfinished.next_one(view.connection, shortest=self._shortest)
            first = unfinished.count(view.connection, row) if row else 0
        if row is None:
            self._long.clear()
            return None
        long = self._cut(row)
        if isinstance(long, UnprocessableTextError):
            self._store.set_problem(row, str(long))
            return True
        chunked, end = long.chunked, first + STAGED_PASSAGES
        part = replace(chunked, spans=chunked.spans[first:end], inputs=chunked.inputs[first:end])
        try:
            if part.spans:
                (encoded,) = self._encode([part])
                self._store.keep_slice(row, first, encoded)
                long.packed.update(enumerate(encoded.packed, first))
            if end < len(chunked.spans):
                return False
            self._finish(row, long)
        except (InferenceError, RuntimeError) as error:
            self._give_up(row, error)
        self._long.pop(row.version, None)
        return True

    def _cut(self, row: StagedDocument) -> _Long | UnprocessableTextError:
        found = self._long.get(row.version)
        if found is None:
            (cut,) = self._split([row.document])
            if isinstance(cut, UnprocessableTextError):
                return cut
            found = self._long[row.version] = _Long(cut)
        return found

    def _finish(self, row: StagedDocument, long: _Long) -> None:
        with self._store.view() as view:
            spans, vectors = unfinished.made(view.connection, row)
        if not spans:  # written again or deleted meanwhile
            return
        if spans != list(long.chunked.spans) or not np.isfinite(vectors).all():
            # Another version of this program cut it otherwise.
            self._store.forget_slices(row)
            return
        packed = [long.packed.get(place) for place in range(len(spans))]
        encoded = EncodedDocument(row.document, spans, vectors, long.chunked.title_end, packed)
        self._publish_rows([(row, encoded)])


def _some(rows: Sequence[StagedDocument], chars: int) -> list[StagedDocument]:
    """The first ones, until they have that number of characters; one at least."""
    before = accumulate((len(row.document.text) for row in rows), initial=0)
    return [row for row, chars_before in zip(rows, before, strict=False) if chars_before < chars]


def _batches(
    rows: Sequence[tuple[StagedDocument, Chunked]],
) -> Iterator[list[tuple[StagedDocument, Chunked]]]:
    batch: list[tuple[StagedDocument, Chunked]] = []
    passages = 0
    for row in rows:
        batch.append(row)
        passages += len(row[1].spans)
        if passages >= STAGED_PASSAGES:
            yield batch
            batch, passages = [], 0
    if batch:
        yield batch
