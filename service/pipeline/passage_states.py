"""What a reranker reads of a collection's passages, made beforehand and kept.

Token states for an interaction reranker, made with the vectors; token ids for a cross-encoder.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from service.errors import ModelError, StoreError
from service.index.data_folder import CollectionFolder
from service.index.document_store import DocumentStore
from service.index.state_store import StateStore
from service.index.store_view import StoreView
from service.pipeline.background import ACCOUNT
from service.pipeline.shares import SHARES
from service.protocols import (
    Encoder,
    PackingReranker,
    Reranker,
    StateEncoder,
    StateReranker,
)
from service.settings import Settings
from service.text.passage import stored_text
from service.types import EncoderIdentity, Ids, PairScore, PassageMemory, Vectors

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Passages whose states are in memory together: of each, up to 200,000 numbers."""

_IN_A_TURN = 4
"""Of these, made before a search may come between."""

_OFFERED = 2048
"""States that wait for their passages to be stored, at most; 13 KB each."""

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
    if not settings.passage_states or not isinstance(reranker, PackingReranker):
        return None
    try:
        states = StateStore(folder.path / "states.db", reranker.weights_sha256)
    except StoreError as error:
        log.warning("token states cannot be kept: %s", error)
        return None
    return PassageStates(folder.store, states, reranker, encoder)


class PassageStates:
    """Follows a store: each of its passages gets states, those of removed ones go.

    States are whatever the reranker packs. Where they are `encoder`'s, what it encodes for the
    store has its states from the same pass. What has none (it is older than the file or came from
    a snapshot) gets them while `idle`.
    """

    def __init__(
        self,
        store: DocumentStore,
        states: StateStore,
        reranker: PackingReranker,
        encoder: EncoderIdentity,
    ) -> None:
        self.idle: Callable[[], bool] = lambda: True
        """Whether no search would wait; where it is not set, none does."""
        self._store, self._states, self._reranker = store, states, reranker
        self._prefixes = (encoder.query_prefix, encoder.passage_prefix)
        self._reads_states: StateReranker | None = None
        if isinstance(reranker, StateReranker) and reranker.reads(encoder):
            self._reads_states = reranker
        self._offered: OrderedDict[str, bytes] = OrderedDict()
        self._offer_lock, self._follow_lock = threading.Lock(), threading.Lock()
        self._backlog: deque[int] = deque()
        self._last_passage = self._last_removed = 0
        self._compared_at: tuple[str | None, int] | None = None

    def close(self) -> None:
        """Let the file go."""
        self._states.close()

    @property
    def reranker(self) -> "RememberingReranker":
        """The reranker with these states at hand."""
        return RememberingReranker(self._reranker, self.kept)

    def kept(self, texts: Sequence[str]) -> Mapping[str, bytes]:
        """The states of those among `texts` that have any, on the disk or on their way there."""
        with self._offer_lock:
            offered = {text: self._offered[text] for text in texts if text in self._offered}
        return {**self._states.get([text for text in texts if text not in offered]), **offered}

    def encoder(self, encoder: StateEncoder) -> Encoder:
        """The encoder, which leaves states here where they are what the reranker reads."""
        reranker = self._reads_states
        return encoder if reranker is None else KeepingEncoder(encoder, reranker, self)

    def offer(self, states: Mapping[str, bytes]) -> None:
        """States by text, for passages that will be in the store soon."""
        with self._offer_lock:
            self._offered.update(states)
            while len(self._offered) > _OFFERED:
                self._offered.popitem(last=False)

    def follow(self) -> bool:
        """Do some of what there is to do; False when that was all. Raises `StoreError`."""
        with self._follow_lock:
            texts = self._next(_AT_ONCE)
            made = self._taken(texts)
            missing = {id_: text for id_, text in texts.items() if text not in made}
            wait = bool(missing) and not self.idle()
            if missing and not wait:
                made |= self._made(list(dict.fromkeys(missing.values())))
            self._put(texts, made)
            if wait:
                self._backlog.extend(missing)
        if wait:
            time.sleep(_PAUSE_S)
        return bool(texts or self._backlog)

    def keep_offered(self) -> None:
        """Store what was offered and whose passages are there by now; makes nothing.

        For a process without a thread that follows. Raises `StoreError`.
        """
        with self._follow_lock:
            # The newest passages stand in front, and those are what was offered.
            texts = self._next(len(self._offered))
            made = self._taken(texts)
            self._put(texts, made)
            self._backlog.extend(id_ for id_, text in texts.items() if text not in made)
            # What is left has passages of another text: it would be looked for again and again.
            self._offered.clear()

    def _next(self, count: int) -> dict[int, str]:
        """Texts of the next passages on the list, off which they come."""
        with self._store.view() as view:
            self._note_changes(view)
            chosen = [self._backlog.popleft() for _ in range(min(count, len(self._backlog)))]
            found = view.passages(chosen)
        return {id_: stored_text(passage, self._prefixes) for id_, passage in found.items()}

    def _put(self, texts: Mapping[int, str], made: Mapping[str, bytes]) -> None:
        try:
            self._states.put((id_, text, made[text]) for id_, text in texts.items() if text in made)
        except BaseException:
            self._compared_at = None  # the next comparison finds what is not there
            raise
        with self._offer_lock:  # only now: searches read them until they are on the disk
            for text in made:
                self._offered.pop(text, None)

    def _note_changes(self, view: StoreView) -> None:
        """List new passages, the newest in front, and drop the states of removed ones."""
        now = (view.generation_name, self._states.losses)
        if now != self._compared_at:
            # Another generation cuts the list of removed passages, and a file that was made again
            # is empty: nothing but a comparison tells.
            live, known = view.allowed({}), self._states.passages()
            self._drop(np.setdiff1d(known, live))
            self._backlog = deque(np.setdiff1d(live, known)[::-1].tolist())
            self._last_passage = int(live[-1]) if len(live) else 0
            _, self._last_removed = view.removed()
            self._compared_at = now
            return
        removed, last_removed = view.removed(after=self._last_removed)
        self._drop(removed)
        self._last_removed = last_removed
        for ids, _vectors in view.vectors(4096, after=self._last_passage):
            self._backlog.extendleft(ids.tolist())
            self._last_passage = int(ids[-1])

    def _drop(self, passages: Ids) -> None:
        if len(passages):
            self._states.remove(passages)

    def _taken(self, texts: Mapping[int, str]) -> dict[str, bytes]:
        """What was offered for these."""
        with self._offer_lock:
            return {
                text: self._offered[text] for text in set(texts.values()) if text in self._offered
            }

    def _made(self, texts: Sequence[str]) -> dict[str, bytes]:
        """As `_from_texts`, in parts that give way to searches."""
        made: dict[str, bytes] = {}
        for start in range(0, len(texts), _IN_A_TURN):
            with SHARES.turn(ACCOUNT):
                made |= self._from_texts(texts[start : start + _IN_A_TURN])
        return made

    def _from_texts(self, texts: Sequence[str]) -> dict[str, bytes]:
        try:
            return dict(zip(texts, self._reranker.pack_texts(texts), strict=True))
        except ModelError as error:
            if len(texts) == 1:  # searches will make them, or say what is wrong
                log.error("a passage gets no token states: %s", error)
                return {}
        return {text: data for one in texts for text, data in self._from_texts([one]).items()}


class RememberingReranker:
    """Implements `service.protocols.Reranker`: a reranker with states at hand."""

    def __init__(self, reranker: PackingReranker, memory: PassageMemory) -> None:
        self.reranker, self._memory = reranker, memory

    @property
    def model(self) -> str:
        """The reranker's name."""
        return self.reranker.model

    @property
    def weights_sha256(self) -> str:
        """The hash of the reranker's files."""
        return self.reranker.weights_sha256

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        """As the reranker's own."""
        return self.reranker.score(pairs, self._memory)


class KeepingEncoder:
    """Implements `service.protocols.Encoder`: leaves the states of all that it encodes."""

    def __init__(
        self, encoder: StateEncoder, reranker: StateReranker, states: PassageStates
    ) -> None:
        self._encoder, self._reranker, self._states = encoder, reranker, states

    @property
    def identity(self) -> EncoderIdentity:
        """The encoder's."""
        return self._encoder.identity

    @property
    def static(self) -> bool:
        """The encoder's."""
        return self._encoder.static

    @property
    def query_budget(self) -> int:
        """The encoder's."""
        return self._encoder.query_budget

    @property
    def passage_budget(self) -> int:
        """The encoder's."""
        return self._encoder.passage_budget

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """As the encoder's own."""
        return self._encoder.count_tokens(texts)

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """As the encoder's own; the reranker has the states of each before it asks for them."""
        vectors, seen = self._encoder.encode_queries_and_states(texts, self._reranker.layers)
        self._reranker.see_queries(dict(zip(texts, seen, strict=True)))
        return vectors

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """As the encoder's own."""
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        by_length = sorted(range(len(texts)), key=lambda place: (-len(texts[place]), place))
        for start in range(0, len(texts), _AT_ONCE):
            places = by_length[start : start + _AT_ONCE]
            own = [texts[place] for place in places]
            vectors[places], seen = self._encoder.encode_passages_and_states(
                own, self._reranker.layers
            )
            # What the encoder read as the reranker will: neither cut it, or both at one place.
            window = self._reranker.passage_tokens
            alike = [
                i
                for i, states in enumerate(seen)
                if len(states.ids) <= window
                and (not states.truncated or self.identity.max_length == window)
            ]
            packed = self._reranker.pack([seen[i] for i in alike])
            self._states.offer(dict(zip([own[i] for i in alike], packed, strict=True)))
        return vectors
