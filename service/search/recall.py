"""Stage one of one search: its passages by vectors, by words, or by both."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.confidence.judge import by_score
from service.index.live_index import IndexView
from service.protocols import StoreView
from service.search.hybrid import Hybrid
from service.types import Candidate, Ids, StoredPassage, Vectors

COSINE_DECIMALS = 5
"""Of a cosine. A query of more than some tens of tokens that was encoded beside others may differ
from itself alone by 1e-7 in a vector's components; rounded, that hardly ever shows."""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate: its passage, its cosine with the query, its 1-based rank in stage one.

    `order` is the score that stage one ordered by. `sparse_score` is BM25's where the passage was
    found by words. `window` is the place of the query's window that is nearest to the passage.
    """

    passage: StoredPassage
    score: float
    rank: int
    order: float
    sparse_score: float | None = None
    window: int = 0


class _Nearest(NamedTuple):
    """A passage's greatest cosine with a window of the query, and which window that is."""

    cosine: float
    window: int


@dataclass(frozen=True, slots=True)
class Recall:
    """What stage one found, the index that it found it in, and the name of what ordered it."""

    found: list[Found]
    index: IndexView
    order: str = "retrieval_score"


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds passages at one moment of the store, for one query.

    `vectors` has shape (windows, dim): a passage is as near to the query as to its nearest window.
    `allowed` narrows to these passages. No document takes up more than `per_document` of what is
    found; what it would have taken goes to the next best.
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
                _keep_nearest(best, window, ((c.passage_id, c.score) for c in listed))
            ids, cosines = list(best), [found.cosine for found in best.values()]
            first = by_score(cosines, ids)[:wanted]
            return [Candidate(ids[i], cosines[i]) for i in first], wanted >= reachable

        rows = self._within_share(nearest, count)
        return _found((passage, best[passage.id], score, None) for passage, score in rows)

    def sparse(self, text: str, count: int) -> list[Found]:
        """The `count` passages that BM25 puts first; none that shares no word with `text`."""

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
        # Those found both ways have all scores in the second.
        nearest = self.dense(count)
        both = {f.passage.id: f for f in [*nearest, *self.sparse(text, count)]}
        scores = hybrid.scores(
            [found.passage.id for found in nearest],
            {id_: found.score for id_, found in both.items()},
            {id_: f.sparse_score for id_, f in both.items() if f.sparse_score is not None},
        )
        found = [replace(found, order=scores[id_]) for id_, found in both.items()]
        ids = [(f.passage.document_id, f.passage.id) for f in found]
        fused = [found[i] for i in by_score([f.order for f in found], ids)]
        taken = _Shares(self.per_document)
        kept = [found for found in fused if taken.has_room(found.passage.document_id)][:count]
        return [replace(found, rank=rank) for rank, found in enumerate(kept, 1)]

    def _within_share(
        self, fetch: Callable[[int], tuple[list[Candidate], bool]], count: int
    ) -> list[tuple[StoredPassage, float]]:
        """The first `count` of what `fetch` finds; it also says whether there is no more."""
        wanted = count
        while True:
            candidates, is_all = fetch(wanted)
            passages = self.store.passages([c.passage_id for c in candidates])
            taken = _Shares(self.per_document)
            rows = [
                (passage, candidate.score)
                for candidate in candidates
                if (passage := passages.get(candidate.passage_id))
                and taken.has_room(passage.document_id)
            ]
            if len(rows) >= count or is_all:
                return rows[:count]
            wanted *= 2


class _Shares:
    """Counts the passages of each document up to the share that it may take up."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, Counter[str]()

    def has_room(self, document: str) -> bool:
        """Take one more of this document, if it may have it."""
        self._taken[document] += 1
        return self._taken[document] <= self._most


def _keep_nearest(
    best: dict[int, _Nearest], window: int, cosines: Iterable[tuple[int, float]]
) -> None:
    """Note which passages are nearer to this window than to those before it."""
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
