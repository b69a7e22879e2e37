"""Stage one: the passages that fit a query best, by vectors, by words, or by both."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.confidence.ranking import by_score
from service.index.live_index import IndexView, LiveIndex
from service.store.allowed_passages import AllowedPassages
from service.store_protocol import Store, StoreView
from service.types import (
    Candidate,
    Facet,
    FacetsAsked,
    Filters,
    Fusion,
    Ids,
    Mode,
    StoredPassage,
    Vectors,
)

COSINE_DECIMALS = 5
"""Cosines are rounded to this. The vector of a long query may differ by 1e-7 in its components
depending on which queries were encoded beside it; rounding nearly always hides that."""

FACETS_S = 1.0
"""Facets are left out of an answer if they take longer to count."""

RRF_K = 60
"""The constant of reciprocal rank fusion, as its authors chose it."""


class Found(NamedTuple):
    """A candidate: its passage, its cosine with the query, its 1-based rank in stage one.

    `order` is the score that stage one ordered by. `sparse_score` is BM25's where the passage was
    found by words. `window` is the query's window, by place, that is nearest to the passage.
    `collection` is the passage's where several are searched.
    """

    passage: StoredPassage
    score: float
    rank: int
    order: float
    sparse_score: float | None = None
    window: int = 0
    collection: str | None = None

    @property
    def key(self) -> str | tuple[str, str]:
        """What names its document among all that are searched; in one search of one type."""
        id_ = self.passage.document_id
        return id_ if self.collection is None else (id_, self.collection)

    @property
    def passage_key(self) -> tuple[str, int]:
        """The same for its passage."""
        return self.collection or "", self.passage.id


class _Nearest(NamedTuple):
    """A passage's greatest cosine with a window of the query, and which window that is."""

    cosine: float
    window: int


class Searched(NamedTuple):
    """An index at one moment: its generation, the store's revision, and its documents."""

    generation: str
    revision: int
    documents: int


@dataclass(frozen=True, slots=True)
class Recall:
    """What stage one found, in which index, and the name of the score that ordered it."""

    found: list[Found]
    index: Searched
    order: str = "retrieval_score"


@dataclass(frozen=True, slots=True)
class Hybrid:
    """How to fuse. `weight` is the share of the words, 0 to 1; at 0.5 both count the same."""

    fusion: Fusion = "weighted"
    weight: float = 0.2

    def scores(
        self, nearest: Sequence[int], cosines: Mapping[int, float], bm25: Mapping[int, float]
    ) -> dict[int, float]:
        """Passage id -> fused score, higher is better.

        `nearest` has the passages that were found by their vectors, best first, `bm25` those found
        by words, `cosines` both.
        """
        if self.fusion == "rrf":
            ids = list(bm25)
            by_words = [ids[place] for place in by_score(list(bm25.values()), ids)]
            return reciprocal_ranks(nearest, by_words, self.weight)
        return weighted(cosines, bm25, self.weight)


class Retriever:
    """Finds candidates in a store through the index that follows it.

    `mode` applies to searches that name none; `hybrid` says how the hybrid mode fuses.
    """

    def __init__(
        self,
        store: Store,
        index: LiveIndex,
        *,
        passages_per_document: int,
        mode: Mode = "dense",
        hybrid: Hybrid = Hybrid(),
    ) -> None:
        self.index = index
        self._store = store
        self._per_document = passages_per_document
        self._mode, self._hybrid = mode, hybrid
        self._allowed = AllowedPassages()

    @property
    def version(self) -> str:
        """Changes whenever what a search may find changes."""
        with self._store.view() as store:
            return f"{self.index.latest.generation}+{store.revision}"

    def facets(self, asked: FacetsAsked, filters: Filters) -> dict[str, Facet]:
        """Counts of values under the filters, which may be those of a later revision than `find`'s.

        Raises `DeadlineError` after `FACETS_S`.
        """
        with self._store.view() as store, store.within(FACETS_S):
            return store.facets(asked, filters)

    def find(
        self,
        vectors: Vectors,
        count: int,
        filters: Filters,
        *,
        text: str = "",
        mode: Mode | None = None,
    ) -> Recall:
        """The best `count` passages of one query: its vectors, (windows, dim), and its `text`.

        The dense mode needs no text. Filters apply before the count is taken. Each document has a
        limited number of passages, so one long document cannot fill the candidates. Everything is
        read from one view of the store, so a write shows as a whole or not at all.
        """
        with self.index.view(self._store) as (store, index):
            allowed = self._allowed.of(store, filters) if filters else None
            finder = Finder(store, index, vectors, allowed, self._per_document)
            searched = Searched(index.generation, index.revision, index.documents)
            match mode or self._mode:
                case "dense":
                    return Recall(finder.dense(count), searched)
                case "sparse":
                    return Recall(finder.sparse(text, count), searched, "sparse_score")
                case "hybrid":
                    found = finder.hybrid(text, count, self._hybrid)
                    return Recall(found, searched, f"hybrid ({self._hybrid.fusion})")

    def current(self, ids: Collection[int], filters: Filters) -> dict[int, StoredPassage]:
        """Those of the passages `ids` that are still there and satisfy `filters`."""
        with self._store.view() as store:
            passages = store.passages(ids)
            if not filters:
                return passages
            allowed = set(np.intersect1d(list(passages), self._allowed.of(store, filters)).tolist())
            return {id_: passage for id_, passage in passages.items() if id_ in allowed}


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds passages at one moment of the store, for one query.

    `vectors` has shape (windows, dim); the nearest window counts. Only `allowed` passages are
    found, and at most `per_document` of one document; the next best take the freed places.
    """

    store: StoreView
    index: IndexView
    vectors: Vectors
    allowed: Ids | None
    per_document: int

    def dense(self, count: int) -> list[Found]:
        """The `count` passages nearest to the query."""
        reachable = len(self.index) if self.allowed is None else len(self.allowed)
        best: dict[int, _Nearest] = {}

        def nearest(wanted: int) -> tuple[list[Candidate], bool]:
            if not reachable:
                return [], True
            for window, listed in enumerate(self.index.search(self.vectors, wanted, self.allowed)):
                _keep_nearest(best, window, listed)
            ids, cosines = list(best), [found.cosine for found in best.values()]
            first = by_score(cosines, ids)[:wanted]
            return [Candidate(ids[i], cosines[i]) for i in first], wanted >= reachable

        rows = self._within_share(nearest, count)
        return _found((passage, best[passage.id], score, None) for passage, score in rows)

    def sparse(self, text: str, count: int) -> list[Found]:
        """The `count` passages that BM25 puts first among those that share a word with `text`."""

        def matching(wanted: int) -> tuple[list[Candidate], bool]:
            candidates = self.store.matching(text, wanted, self.allowed)
            return candidates, len(candidates) < wanted

        rows = self._within_share(matching, count)
        ids = [passage.id for passage, _ in rows]
        best: dict[int, _Nearest] = {}
        for window, vector in enumerate(self.vectors):
            _keep_nearest(best, window, self.store.cosines(ids, vector).items())
        return _found((passage, best[passage.id], score, score) for passage, score in rows)

    def hybrid(self, text: str, count: int, hybrid: Hybrid) -> list[Found]:
        """The best `count` of both by their fused score; ties by document, then passage id."""
        # A passage that was found both ways has all scores in the second.
        nearest = self.dense(count)
        both = {f.passage.id: f for f in [*nearest, *self.sparse(text, count)]}
        scores = hybrid.scores(
            [found.passage.id for found in nearest],
            {id_: found.score for id_, found in both.items()},
            {id_: f.sparse_score for id_, f in both.items() if f.sparse_score is not None},
        )
        found = [found._replace(order=scores[id_]) for id_, found in both.items()]
        ids = [(f.passage.document_id, f.passage.id) for f in found]
        fused = [found[i] for i in by_score([f.order for f in found], ids)]
        taken = _PassageQuota(self.per_document)
        kept = [found for found in fused if taken.has_room(found.passage.document_id)][:count]
        return [found._replace(rank=rank) for rank, found in enumerate(kept, 1)]

    def _within_share(
        self, fetch: Callable[[int], tuple[list[Candidate], bool]], count: int
    ) -> list[tuple[StoredPassage, float]]:
        """The first `count` that `fetch` finds within the limit of each document.

        `fetch` also says whether these are all.
        """
        wanted = count
        while True:
            candidates, is_all = fetch(wanted)
            passages = self.store.passages([c.passage_id for c in candidates])
            taken = _PassageQuota(self.per_document)
            rows = [
                (passage, candidate.score)
                for candidate in candidates
                if (passage := passages.get(candidate.passage_id))
                and taken.has_room(passage.document_id)
            ]
            if len(rows) >= count or is_all:
                return rows[:count]
            wanted *= 2


class _PassageQuota:
    """Counts the passages of each document."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, Counter[str]()

    def has_room(self, document: str) -> bool:
        """Count one more of this document; is it within the limit?"""
        self._taken[document] += 1
        return self._taken[document] <= self._most


def reciprocal_ranks(
    dense: Sequence[int], sparse: Sequence[int], weight: float
) -> dict[int, float]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009) of ids, best first.

    Each list that holds an id adds its share / (60 + rank), with ranks from 1.
    """
    scores: dict[int, float] = {}
    for ids, share in ((dense, 1.0 - weight), (sparse, weight)):
        for rank, id_ in enumerate(ids, 1):
            scores[id_] = scores.get(id_, 0.0) + share / (RRF_K + rank)
    return scores


def weighted(
    cosines: Mapping[int, float], bm25: Mapping[int, float], weight: float
) -> dict[int, float]:
    """Sum of both scores, each brought to 0 to 1 among these passages.

    The convex combination of Bruch, Gai and Ingber (TOIS 2023): the cosine is min-max scaled, BM25
    divided by its maximum. A passage that was not found by words counts 0 for it.
    """
    if not cosines:
        return {}
    lowest, highest = min(cosines.values()), max(cosines.values())
    spread, most = highest - lowest or 1.0, max(bm25.values(), default=1.0)
    return {
        id_: (1.0 - weight) * (cosine - lowest) / spread + weight * bm25.get(id_, 0.0) / most
        for id_, cosine in cosines.items()
    }


def _keep_nearest(
    best: dict[int, _Nearest], window: int, cosines: Iterable[tuple[int, float]]
) -> None:
    """Note passages that are nearer to this window than to those before it."""
    for passage, cosine in cosines:
        rounded = round(cosine, COSINE_DECIMALS)
        if passage not in best or rounded > best[passage].cosine:
            best[passage] = _Nearest(rounded, window)


def _found(rows: Iterable[tuple[StoredPassage, _Nearest, float, float | None]]) -> list[Found]:
    """Ranked records of (passage, cosine and window, what ordered it, BM25's score)."""
    return [
        Found(passage, nearest.cosine, rank, order, bm25, nearest.window)
        for rank, (passage, nearest, order, bm25) in enumerate(rows, 1)
    ]
