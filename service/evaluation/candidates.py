"""Stage one's passages for labelled queries, each with the reranker's logit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.confidence.ranking import Ordered, rank
from service.errors import UnprocessableTextError
from service.evaluation.measures import Qrels, per_query
from service.evaluation.query_cache import Encode, encoded_queries
from service.search.retriever import Found
from service.search.searcher import Searcher
from service.search.second_stage import language_of
from service.types import EncodedPassage, EncodedQuery, Mode, PairScore

Floats = NDArray[np.float64]

CANDIDATES = 100
"""Candidates of a query: the default of `num_candidates`."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Stage one's passages for one query, best first, and the language of the search.

    `documents`, `passages` (ids) and `cosines` have shape (n,). `logits` has shape (m,) and belongs
    to the first m; m is 0 if nothing was reranked. `orders`, shape (n,), are what stage one ordered
    them by; None for the cosines.
    """

    documents: Sequence[str]
    passages: Sequence[int]
    cosines: Floats
    logits: Floats
    language: str
    orders: Floats | None = None

    def ranked(self, share: float, depth: int) -> Ordered:
        """Their order if the reranker has this share and reads `depth` of them."""
        ids = list(zip(self.documents, self.passages, strict=True))
        return rank(ids, self.cosines, self.logits[:depth], share, self.orders)

    def ranking(self, share: float, depth: int, count: int = 10) -> list[str]:
        return [self.documents[place] for place in self.ranked(share, depth).places[:count]]


@dataclass(frozen=True, slots=True)
class Search:
    """One query twice: with all documents, and without the documents that are relevant to it.

    `tokens` is the query's length.
    """

    answered: Candidates
    unanswered: Candidates
    tokens: int


@dataclass(frozen=True, slots=True)
class Observed:
    name: str
    qrels: Qrels
    searches: Mapping[str, Search]

    def is_relevant(self, query: str, document: str) -> bool:
        return self.qrels.get(query, {}).get(document, 0) > 0

    def ndcg(
        self, queries: Iterable[str], share: Callable[[str], float], depth: int
    ) -> dict[str, float]:
        """nDCG@10 of each judged query, by id; `share` gives the reranker's share in a language."""
        found = {q: self.searches[q].answered for q in queries if q in self.qrels}
        run = {query: of.ranking(share(of.language), depth) for query, of in found.items()}
        return per_query({q: self.qrels[q] for q in run}, run, ["ndcg@10"])["ndcg@10"]


Score = Callable[[EncodedQuery, Sequence[EncodedPassage]], list[PairScore]]


class Observer:
    """Reads the candidates of one searcher as its own stages see them."""

    def __init__(
        self,
        searcher: Searcher,
        depth: int,
        encode: Encode | None = None,
        score: Score | None = None,
        mode: Mode | None = "dense",
    ) -> None:
        """Rerank the first `depth` candidates of a query; `encode` is the searcher's or a cache.

        `score` replaces a call of the reranker. With `mode` None the searcher's own applies.
        """
        self._searcher, self._depth, self._mode = searcher, depth, mode
        self._encode = encode or searcher.encode
        self._score = score or self._score_at_once

    def encoded(self, queries: Sequence[str]) -> Iterator[tuple[str, EncodedQuery]]:
        """Each query as the models read it. Raises as they do."""
        return encoded_queries(self._searcher, queries, self._encode)

    def search(
        self, text: str, encoded: EncodedQuery, relevant: Set[str], *, rerank: bool = True
    ) -> Search:
        """Search for one of the `encoded` queries in both ways.

        Raises as the models do. A query that is too long for the reranker is not reranked.
        """
        find = self._finder(text, encoded)
        with_answer = find(CANDIDATES)
        without = _without(find, relevant)
        depth = self._depth if rerank else 0
        first, second = self._logits(encoded, with_answer[:depth], without[:depth])
        answered = _candidates(text, with_answer, first)
        return Search(answered, _candidates(text, without, second), encoded.tokens)

    def passages(self, text: str, encoded: EncodedQuery) -> list[EncodedPassage]:
        """The candidates as the reranker reads them."""
        return self._searcher.second_stage.passages(self._finder(text, encoded)(CANDIDATES))

    def _finder(self, text: str, encoded: EncodedQuery) -> Callable[[int], list[Found]]:
        """A function that finds a number of candidates."""
        find, mode = self._searcher.retriever.find, self._mode
        return lambda count: find(encoded.vectors, count, {}, text=text, mode=mode).found

    def _score_at_once(
        self, query: EncodedQuery, passages: Sequence[EncodedPassage]
    ) -> list[PairScore]:
        reranker = self._searcher.second_stage.reranker
        return next(reranker.score(query, [passages])) if reranker else []

    def _logits(self, query: EncodedQuery, *lists: Sequence[Found]) -> list[list[float]]:
        """Logits of each list. A passage that is in several lists is scored once."""
        stage = self._searcher.second_stage
        found = {c.passage.id: c for listed in lists for c in listed}
        if stage.reranker is None or not found:
            return [[] for _ in lists]
        try:
            scores = self._score(query, stage.passages(list(found.values())))
        except UnprocessableTextError:
            return [[] for _ in lists]
        logits = {id_: score.logit for id_, score in zip(found, scores, strict=True)}
        return [[logits[c.passage.id] for c in listed] for listed in lists]


def observe(
    observer: Observer,
    name: str,
    queries: Mapping[str, str],
    qrels: Qrels,
    reranked: Iterable[str],
    on_progress: Callable[[int], None] = lambda _n: None,
) -> Observed:
    """Search the collection for `queries`, texts by id; those in `reranked` also get logits."""
    searches, to_rerank = {}, set(reranked)
    encoded = observer.encoded(list(queries.values()))
    for number, (query, read) in enumerate(zip(queries, encoded, strict=True), start=1):
        grades = qrels.get(query, {})
        relevant = {document for document, grade in grades.items() if grade > 0}
        searches[query] = observer.search(*read, relevant, rerank=query in to_rerank)
        on_progress(number)
    return Observed(name, qrels, searches)


def _without(find: Callable[[int], list[Found]], relevant: Set[str]) -> list[Found]:
    """The candidates if the relevant documents did not exist: the next ones move up."""
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
        orders=np.array([c.order for c in found], np.float64),
    )
