"""Stage one: the nearest passages of a query, with what a hit shows of them."""

from collections import Counter
from dataclasses import dataclass

from service.index.document_store import DocumentStore
from service.index.generation import Generation
from service.types import Candidate, Filters, StoredPassage, Vectors


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate: its passage, its cosine with the query, its 1-based rank in stage one."""

    passage: StoredPassage
    score: float
    rank: int


class Retriever:
    """Reads one generation and its store."""

    def __init__(
        self, store: DocumentStore, generation: Generation, *, passages_per_document: int
    ) -> None:
        self.generation = generation
        self._store = store
        self._per_document = passages_per_document

    @property
    def version(self) -> str:
        """Another one after any change of what a search may find; cheap to read."""
        return self.generation.name

    def find(self, vectors: Vectors, count: int, filters: Filters) -> list[Found]:
        """The best `count` passages of the one query in `vectors`, shape (1, dim).

        Filters narrow before the count is taken. No document takes up more than its share of
        passages, so one long document cannot fill the candidates; what it would have taken goes
        to the next best.
        """
        index = self.generation.index
        allowed = self._store.allowed(filters) if filters else None
        reachable = len(index) if allowed is None else len(allowed)
        fetch = min(count, reachable)
        while True:
            (candidates,) = index.search(vectors, fetch, allowed) if fetch else ([],)
            found = self._within_share(candidates, count)
            if len(found) == count or fetch >= reachable:
                return found
            fetch = min(fetch * 2, reachable)

    def _within_share(self, candidates: list[Candidate], count: int) -> list[Found]:
        passages = self._store.passages([c.passage_id for c in candidates])
        taken: Counter[str] = Counter()
        found: list[Found] = []
        for candidate in candidates:
            passage = passages[candidate.passage_id]
            taken[passage.document_id] += 1
            if taken[passage.document_id] <= self._per_document:
                found.append(Found(passage, candidate.score, len(found) + 1))
        return found[:count]
