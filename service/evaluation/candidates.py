"""Stage one's passages for labelled queries, each with what the reranker says of it."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.confidence.judge import Ordered, rank
from service.datasets import Collection
from service.engine.engine import Engine
from service.errors import UnprocessableTextError
from service.evaluation.measures import Qrels
from service.search.retriever import Found
from service.search.second_stage import language_of
from service.types import EncodedPassage, EncodedQuery

Floats = NDArray[np.float64]

CANDIDATES = 100
"""Candidates of a query: the default of `num_candidates`."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Stage one's passages for one query, best first, and the language that the search is in.

    `documents`, `passages` (ids) and `cosines` have shape (n,). `logits` has shape (m,), of the
    first m; m is 0 where nothing was reranked.
    """

    documents: Sequence[str]
    passages: Sequence[int]
    cosines: Floats
    logits: Floats
    language: str

    def ranked(self, share: float, depth: int) -> Ordered:
        """Their order where the reranker has this share and reads `depth` of them."""
        ids = list(zip(self.documents, self.passages, strict=True))
        return rank(ids, self.cosines, self.logits[:depth], share)

    def ranking(self, share: float, depth: int, count: int = 10) -> list[str]:
        """The first `count` documents in that order."""
        return [self.documents[place] for place in self.ranked(share, depth).places[:count]]


@dataclass(frozen=True, slots=True)
class Search:
    """One query twice: as it is, and as if its relevant documents were not in the collection."""

    answered: Candidates
    unanswered: Candidates


@dataclass(frozen=True, slots=True)
class Observed:
    """A labelled collection's searches by query id."""

    name: str
    qrels: Qrels
    searches: Mapping[str, Search]

    def is_relevant(self, query: str, document: str) -> bool:
        """Has the document a grade above 0?"""
        return self.qrels.get(query, {}).get(document, 0) > 0


class Observer:
    """Looks at candidates of one open engine as its own stages see them."""

    def __init__(self, engine: Engine, depth: int) -> None:
        """Rerank the first `depth` candidates of a query."""
        self._searcher, self._depth = engine.searcher, depth

    def search(self, query: str, relevant: Set[str], *, rerank: bool = True) -> Search:
        """Both ways of one query. Raises as the models do; a query too long to rerank is not."""
        text, encoded, find = self._finder(query)
        with_answer = find(CANDIDATES)
        without = _without(find, relevant)
        depth = self._depth if rerank else 0
        first, second = self._logits(encoded, with_answer[:depth], without[:depth])
        return Search(_candidates(text, with_answer, first), _candidates(text, without, second))

    def read(self, query: str) -> tuple[EncodedQuery, list[EncodedPassage]]:
        """What the reranker reads of a query and its candidates."""
        _, encoded, find = self._finder(query)
        return encoded, self._searcher.second_stage.passages(find(CANDIDATES))

    def _finder(self, query: str) -> tuple[str, EncodedQuery, Callable[[int], list[Found]]]:
        """The normalised query, as the stages read it, and what finds its first candidates."""
        searcher = self._searcher
        text, _warnings = searcher.normalize_query(query)
        (encoded,) = searcher.encode([text])

        def find(count: int) -> list[Found]:
            return searcher.retriever.find(encoded.vectors, count, {}, mode="dense").found

        return text, encoded, find

    def _logits(self, query: EncodedQuery, *lists: Sequence[Found]) -> list[list[float]]:
        """Logits of each list; a passage that several have is scored once, where it may be."""
        stage = self._searcher.second_stage
        reranker = stage.reranker
        found = {c.passage.id: c for listed in lists for c in listed}
        if reranker is None or not found:
            return [[] for _ in lists]
        try:
            scores = next(reranker.score(query, [stage.passages(list(found.values()))]))
        except UnprocessableTextError:
            return [[] for _ in lists]
        logits = {id_: score.logit for id_, score in zip(found, scores, strict=True)}
        return [[logits[c.passage.id] for c in listed] for listed in lists]


def observe(
    observer: Observer,
    labelled: Collection,
    queries: Sequence[str],
    reranked: Set[str],
    on_progress: Callable[[int], None] = lambda _n: None,
) -> Observed:
    """Search for `queries`, ids of the collection's; those in `reranked` also get their logits."""
    searches = {}
    for number, query in enumerate(queries, start=1):
        grades = labelled.qrels.get(query, {})
        relevant = {document for document, grade in grades.items() if grade > 0}
        text = labelled.queries[query]
        searches[query] = observer.search(text, relevant, rerank=query in reranked)
        on_progress(number)
    return Observed(labelled.name, labelled.qrels, searches)


def _without(find: Callable[[int], list[Found]], relevant: Set[str]) -> list[Found]:
    """The candidates that there would be without the relevant documents: the next ones move up."""
    count = CANDIDATES
    while True:
        found = find(count)
        rest = [c for c in found if c.passage.document_id not in relevant]
        if len(rest) >= CANDIDATES or len(found) < count:
            return rest[:CANDIDATES]
        count += CANDIDATES - len(rest)


def _candidates(text: str, found: Sequence[Found], logits: Sequence[float]) -> Candidates:
    return Candidates(
        documents=[c.passage.document_id for c in found],
        passages=[c.passage.id for c in found],
        cosines=np.array([c.score for c in found], np.float64),
        logits=np.array(logits, np.float64),
        language=language_of(text, found) if found else "und",
    )
