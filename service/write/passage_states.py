"""What a reranker reads of a collection's passages, made beforehand and stored.

Token states for an interaction reranker, made with the vectors; token ids for a cross-encoder.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.errors import ModelError, StoreError
from service.protocols import Encoder, Reranker
from service.scheduling.background import ACCOUNT
from service.scheduling.shares import SHARES
from service.settings import Settings
from service.store.data_folder import CollectionFolder
from service.store.document_store import DocumentStore
from service.store.records import EncodedDocument
from service.store.state_store import StateStore
from service.store.store_view import StoreView
from service.text.passage import stored_text
from service.types import EncoderIdentity, Ids, StoredPassage, Vectors

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Passages whose states are in memory together: of each, up to 200,000 numbers."""

_IN_A_TURN = 4
"""Of these, made before a search may come between."""

_PAUSE_S = 0.05
"""Between two looks whether searches have ended."""


def open_states(
    settings: Settings,
    folder: CollectionFolder,
    reranker: Reranker | None,
    encoder: EncoderIdentity,
) -> "PassageStates | None":
    """Those of a collection that `encoder` encodes; None where no reranker reads any.

    Without a place for them on the disk there are none either: searches are slower, not wrong.
    """
    if not settings.passage_states or reranker is None or reranker.reads == "texts":
        return None
    with folder.store.view() as view:
        maker = f"{reranker.weights_sha256} of {view.id}"
    try:
        states = StateStore(folder.path / "states.db", maker)
    except StoreError as error:
        log.warning("token states cannot be kept: %s", error)
        return None
    return PassageStates(folder.store, states, reranker, encoder)


class PassageStates:
    """Follows a store: each of its passages gets states, those of removed ones go.

    States are whatever the reranker packs. Where they are `encoder`'s, passages are stored with
    the states of the pass that made their vectors. What has none (it is older than the file or came
    from a snapshot) gets them while `idle`.
    """

    def __init__(
        self,
        store: DocumentStore,
        states: StateStore,
        reranker: Reranker,
        encoder: EncoderIdentity,
    ) -> None:
        self.idle: Callable[[], bool] = lambda: True
        """Whether no search would wait; where it is not set, none does."""
        self._store, self._states, self._reranker = store, states, reranker
        self._prefixes = (encoder.query_prefix, encoder.passage_prefix)
        self._layers = reranker.layers(encoder)
        self._storing = threading.Lock()
        self._works = True
        self._backlog: deque[int] = deque()
        self._last_passage = self._last_removed = 0
        self._compared_at: tuple[str | None, int] | None = None

    def close(self) -> None:
        """Let the file go."""
        self._states.close()

    def get(self, passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        """The states of those that have any, by passage id."""
        return self._states.get(passages)

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> tuple[Vectors, list[bytes | None]]:
        """The vectors of passages, and what `store` is to keep of each, if it comes with them."""
        packed: list[bytes | None] = [None] * len(texts)
        if not self._layers:
            return encoder.encode_passages(texts), packed
        vectors = np.empty((len(texts), encoder.identity.dimension), np.float32)
        by_length = sorted(range(len(texts)), key=lambda place: (-len(texts[place]), place))
        for start in range(0, len(texts), _AT_ONCE):
            places = by_length[start : start + _AT_ONCE]
            vectors[places], seen = encoder.encode_passages_and_states(
                [texts[place] for place in places], self._layers
            )
            for place, data in zip(places, self._reranker.pack_states(seen), strict=True):
                packed[place] = data
        return vectors, packed

    def store(
        self, rows: Sequence[EncodedDocument], write: Callable[[], Sequence[Sequence[int]]]
    ) -> None:
        """Have `rows` written, and keep what is packed with them.

        `write` returns the ids of each row's passages and raises as it does. What goes wrong with
        the states is left to `follow`.
        """
        with self._storing:  # so that `follow` does not make what is about to come
            written = zip(rows, write(), strict=True)
            made = {
                id_: data
                for row, ids in written
                for id_, data in zip(ids, row.packed, strict=False)
                if data is not None
            }
            if made and self._works:
                try:
                    self._put(made)
                except StoreError as error:
                    self._works = False
                    log.warning("token states cannot be kept: %s", error)

    def follow(self) -> bool:
        """Do some of what there is to do; False when that was all. Raises `StoreError`."""
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
                self._put(self._made(passages))
            except BaseException:
                self._compared_at = None  # the next comparison finds what is not there
                raise
        return bool(passages or self._backlog)

    def _put(self, made: Mapping[int, bytes]) -> None:
        there = self._store.passages(made.keys())
        self._states.put((passage, made[id_]) for id_, passage in there.items())

    def _note_changes(self, view: StoreView) -> None:
        """List passages without states, the newest in front, and drop states of removed ones."""
        now = (view.generation_name, self._states.losses)
        if now != self._compared_at:
            # Another generation cuts the list of removed passages, and a file that was made again
            # is empty: nothing but a comparison tells.
            live, known = view.allowed({}), self._states.passages()
            self._drop(np.setdiff1d(known, live))
            self._backlog = deque(np.setdiff1d(live, known)[::-1].tolist())
            self._last_passage = int(live[-1]) if len(live) else 0
            _, self._last_removed = view.removed()
            self._compared_at, self._works = now, True
            return
        removed, last_removed = view.removed(after=self._last_removed)
        self._drop(removed)
        self._last_removed = last_removed
        known = self._states.passages(after=self._last_passage)
        for ids, _vectors in view.vectors(4096, after=self._last_passage):
            self._backlog.extendleft(np.setdiff1d(ids, known).tolist())
            self._last_passage = int(ids[-1])

    def _drop(self, passages: Ids) -> None:
        if len(passages):
            self._states.remove(passages)

    def _made(self, passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        """What the reranker packs, in parts that give way to searches."""
        made: dict[int, bytes] = {}
        for start in range(0, len(passages), _IN_A_TURN):
            with SHARES.turn(ACCOUNT):
                made |= self._packed(passages[start : start + _IN_A_TURN])
        return made

    def _packed(self, passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        texts = [stored_text(passage, self._prefixes) for passage in passages]
        try:
            packed = self._reranker.pack(texts)
        except ModelError as error:
            if len(passages) == 1:  # searches will make them, or say what is wrong
                log.error("a passage gets no token states: %s", error)
                return {}
            return {id_: data for one in passages for id_, data in self._packed([one]).items()}
        return dict(zip((passage.id for passage in passages), packed, strict=True))
