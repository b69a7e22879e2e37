"""Makes and stores what a reranker reads of a collection's passages, before any search.

For an interaction reranker these are token states, made with the vectors; for a cross-encoder,
token ids. A search reads them from the file, `store/state_store.py`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.errors import ModelError, StoreError
from service.forward_pass import token_batches
from service.protocols import Encoder, Reranker
from service.scheduling.background import ACCOUNT
from service.scheduling.shares import SHARES
from service.settings import Settings
from service.store.data_folder import CollectionFolder
from service.store.state_store import StateStore
from service.store_protocol import Store, StoreView
from service.text.passage import stored_text
from service.types import (
    EncodedDocument,
    EncoderIdentity,
    GenerationRecord,
    Ids,
    StoredPassage,
    Vectors,
)

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Passages that are taken from the backlog together."""

_TOKENS_AT_ONCE = 3_700
"""Tokens whose states are in memory together; each has some 800 numbers. More in a pass of the
encoder is no faster."""

_IN_A_TURN = 4
"""Passages whose states are made before a search may come between."""

_PAUSE_S = 0.05
"""Before it is checked again whether searches have ended."""


def open_states(
    settings: Settings,
    folder: CollectionFolder,
    reranker: Reranker | None,
    encoder: EncoderIdentity,
) -> "PassageStates | None":
    """The states of a collection that `encoder` encodes; None if the reranker reads none.

    None too if they cannot be stored: searches are then slower, not wrong.
    """
    if not settings.passage_states or reranker is None or reranker.reads == "texts":
        return None
    with folder.store.view() as view:
        maker = f"{reranker.weights_sha256} of {view.id}"
    try:
        file = StateStore(folder.path / "states.db", maker)
    except StoreError as error:
        log.warning("token states cannot be stored: %s", error)
        return None
    return PassageStates(folder.store, file, reranker, encoder)


class PassageStates:
    """Gives each passage of a store its states, and removes those of removed passages.

    States are what the reranker packs. If it reads `encoder`'s token states, the pass that makes a
    passage's vector makes its states too. Other passages, older than the file or from a snapshot,
    get them while the collection is `idle`.
    """

    def __init__(
        self, store: Store, file: StateStore, reranker: Reranker, encoder: EncoderIdentity
    ) -> None:
        self.idle: Callable[[], bool] = lambda: True
        """Whether no search would have to wait."""
        self.file = file
        self._store, self._reranker = store, reranker
        self._prefixes = encoder.prefixes
        self._layers = reranker.layers(encoder)
        self._storing = threading.Lock()
        self._works = True
        """Whether the last write of states succeeded; if not, `follow` tries the next one."""
        self._backlog: deque[int] = deque()
        """Passages without states, in the order in which they get them."""
        self._last_passage = self._last_removed = 0
        self._compared_at: tuple[GenerationRecord | None, int] | None = None

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> tuple[Vectors, list[bytes | None]]:
        """The vectors of passages, and for each the states if they are made with the vectors."""
        packed: list[bytes | None] = [None] * len(texts)
        if not self._layers:
            return encoder.encode_passages(texts), packed
        vectors = np.empty((len(texts), encoder.identity.dimension), np.float32)
        for places in token_batches(encoder.count_tokens(texts), _TOKENS_AT_ONCE):
            vectors[places], seen = encoder.encode_passages_and_states(
                [texts[place] for place in places], self._layers
            )
            for place, data in zip(places, self._reranker.pack_states(seen), strict=True):
                packed[place] = data
        return vectors, packed

    def store(
        self, rows: Sequence[EncodedDocument], write: Callable[[], Sequence[Sequence[int]]]
    ) -> None:
        """Call `write`, which stores `rows`, then store the states that are packed in them.

        `write` returns the passage ids of each row; its errors are raised. If the states cannot be
        stored, `follow` makes them later.
        """
        with self._storing:  # so that `follow` does not make the same states
            made = {
                id_: data
                for row, ids in zip(rows, write(), strict=True)
                for id_, data in zip(ids, row.packed, strict=False)
                if data is not None
            }
            if made and self._works:
                try:
                    self._put(made)
                except StoreError as error:
                    self._works = False
                    log.warning("token states cannot be stored: %s", error)

    def follow(self) -> bool:
        """Add and remove some states; False if nothing is left to do. Raises `StoreError`."""
        with self._storing, self._store.view() as view:
            self._note_changes(view)
            count = min(_AT_ONCE, len(self._backlog))
            ids = [self._backlog.popleft() for _ in range(count)]
            passages = list(view.passages(ids).values())
        if passages and not self.idle():
            self._backlog.extend(passage.id for passage in passages)
            time.sleep(_PAUSE_S)
        elif passages:
            try:
                self._put(self._make(passages))
            except BaseException:
                self._compared_at = None  # the next comparison finds what is missing
                raise
        return bool(passages or self._backlog)

    def _put(self, made: Mapping[int, bytes]) -> None:
        with self._store.view() as view:
            passages = view.passages(made.keys())
        self.file.put((passage, made[id_]) for id_, passage in passages.items())
        self._works = True

    def _note_changes(self, view: StoreView) -> None:
        """Put passages without states on the backlog, newest first; remove stale states."""
        now = (view.generation, self.file.losses)
        if now != self._compared_at:
            # A new generation truncates the list of removed passages, and a file that was made
            # again is empty. Only a full comparison shows what is missing.
            live, known = view.allowed({}), self.file.passages()
            self._remove(np.setdiff1d(known, live))
            self._backlog = deque(np.setdiff1d(live, known)[::-1].tolist())
            self._last_passage = int(live[-1]) if len(live) else 0
            _, self._last_removed = view.removed()
            self._compared_at = now
            return
        removed, last_removed = view.removed(after=self._last_removed)
        self._remove(removed)
        self._last_removed = last_removed
        known = self.file.passages(after=self._last_passage)
        for ids, _vectors in view.vectors(4096, after=self._last_passage):
            self._backlog.extendleft(np.setdiff1d(ids, known).tolist())
            self._last_passage = int(ids[-1])

    def _remove(self, passages: Ids) -> None:
        if len(passages):
            self.file.remove(passages)

    def _make(self, passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        """Pack the passages in parts that give way to searches."""
        made: dict[int, bytes] = {}
        for start in range(0, len(passages), _IN_A_TURN):
            with SHARES.turn(ACCOUNT):
                made |= self._pack(passages[start : start + _IN_A_TURN])
        return made

    def _pack(self, passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        texts = [stored_text(passage, self._prefixes) for passage in passages]
        try:
            packed = self._reranker.pack(texts)
        except ModelError as error:
            if len(passages) == 1:  # a search will make them, or report the error
                log.error("a passage gets no token states: %s", error)
                return {}
            return {id_: data for one in passages for id_, data in self._pack([one]).items()}
        return dict(zip((passage.id for passage in passages), packed, strict=True))
