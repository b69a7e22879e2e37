"""An index that follows its store: a generation, what came since, and what went since.

As in a log-structured merge tree (O'Neil et al., 1996): the generation on the disk is never
changed; passages that came later stand in small exact segments beside it, those that went are left
out of its answers, and from time to time a new generation takes in both.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

from service.confidence.ranking import by_score
from service.index.faiss_index import FaissIndex
from service.index.generation import Generation
from service.protocols import VectorIndex
from service.store_protocol import Store, StoreView
from service.types import Candidate, Ids, Vectors

_BATCH = 4096


@dataclass(frozen=True, slots=True)
class IndexView:
    """All passages of the store at one revision; never changed. Any thread may search it.

    The generation is any `VectorIndex`; what came since is in small exact segments beside it.
    """

    generation: str
    revision: int
    documents: int
    base: VectorIndex
    segments: tuple[FaissIndex, ...]
    last_passage: int
    last_removed: int

    def __len__(self) -> int:
        return len(self.base) + sum(map(len, self.segments))

    def search(self, vectors: Vectors, k: int, allowed: Ids | None = None) -> list[list[Candidate]]:
        """As `VectorIndex.search`."""
        if not self.segments:
            return self.base.search(vectors, k, allowed)
        parts = [part.search(vectors, k, allowed) for part in (self.base, *self.segments)]
        return [_best(list(chain(*found)), k) for found in zip(*parts, strict=True)]


def _best(candidates: Sequence[Candidate], k: int) -> list[Candidate]:
    scores, ids = [c.score for c in candidates], [c.passage_id for c in candidates]
    return [candidates[place] for place in by_score(scores, ids)[:k]]


class LiveIndex:
    """Gives for each view of the store the index of the same moment. Safe to use from many threads.

    A writer tells it nothing: what is new it reads from the store.
    """

    def __init__(self, generation: Generation, store: StoreView) -> None:
        self._lock = threading.Lock()
        self._view = _replayed(generation, store)

    @property
    def latest(self) -> IndexView:
        """The index at the latest moment that was asked for."""
        return self._view

    @contextmanager
    def view(self, store: Store) -> Iterator[tuple[StoreView, IndexView]]:
        """The store as it is at this moment, and the index at the very same one."""
        with ExitStack() as stack:
            with self._lock:  # so that no other reader can bring the index past this view
                view = stack.enter_context(store.view())
                index = self._view = _followed(self._view, view)
            yield view, index

    def swap(self, generation: Generation, store: StoreView) -> None:
        """Take a new generation, with what came and went since it was built."""
        view = _replayed(generation, store)
        with self._lock:
            self._view = view


def _replayed(generation: Generation, store: StoreView) -> IndexView:
    index = generation.index
    start = IndexView(generation.name, -1, 0, index, (), index.last_passage, 0)
    return _followed(start, store)


def _followed(view: IndexView, store: StoreView) -> IndexView:
    """What `view` becomes at the later moment `store`, whose list has all that went since."""
    revision = store.revision
    if view.revision >= revision:
        return view
    base, segments = view.base, list(view.segments)
    removed, last_removed = store.removed(after=view.last_removed)
    if len(removed):
        base = base.without(removed)
        segments = [segment.without(removed) for segment in segments]
    batches = list(store.vectors(_BATCH, after=view.last_passage))
    if batches:
        segments.append(FaissIndex.build(batches, dimension=base.dimension, kind="flat"))
    return IndexView(
        view.generation,
        revision,
        store.counts.documents,
        base,
        _tidied(segments),
        int(batches[-1][0][-1]) if batches else view.last_passage,
        last_removed,
    )


def _tidied(segments: list[FaissIndex]) -> tuple[FaissIndex, ...]:
    """Each at least twice as large as the next: they are few, and each is rarely built again."""
    tidied: list[FaissIndex] = []
    for segment in segments:
        if len(segment):
            tidied.append(segment)
        while len(tidied) > 1 and len(tidied[-2]) < 2 * len(tidied[-1]):
            tidied[-2:] = [_merged(tidied[-2:])]
    return tuple(tidied)


def _merged(segments: list[FaissIndex]) -> FaissIndex:
    parts = [segment.passages() for segment in segments]
    return FaissIndex.build(parts, dimension=segments[0].dimension, kind="flat")
