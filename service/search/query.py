"""A search: what it asks, how the encoder reads it, what it answers, and how long that took."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from service.protocols import Encoder
from service.search.boosts import Boost
from service.search.explanation import Explanation
from service.search.highlights import Highlight
from service.search.retriever import Found
from service.text.chunker import chunk
from service.types import (
    EncodedQuery,
    Facet,
    FacetsAsked,
    Filters,
    FilterScalar,
    Metadata,
    Mode,
    RerankStatus,
    TokenStates,
    Word,
)

QUERY_FILLS_WINDOW = "the query fills the reranker's whole window"
"""The reason if the query leaves no room for a passage; another wording may be reranked."""

WINDOW = 128
"""Tokens in a window of a query that is too long for the encoder. A vector of 500 tokens says
little of the one sentence among them that asks something; the best of several short ones does."""

_OVERLAP = 16
"""Tokens that neighbouring windows share, at most."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search; with `mode` None the server's mode applies.

    With `offset`, 0 too, the window of the search is kept for its next pages, which `cursor` asks
    for. Windows belong to an `owner`: a client, and what its key may see.
    """

    query: str
    top_k: int = 10
    num_candidates: int = 100
    rerank: bool = True
    filters: Filters = field(default_factory=dict)
    min_confidence: Word | None = None
    timeout_ms: int | None = None
    mode: Mode | None = None
    highlights: int = 0
    explain: bool = False
    facets: FacetsAsked | None = None
    offset: int | None = None
    cursor: str | None = None
    owner: str = ""
    min_probability: float | None = None
    boost: tuple[Boost, ...] = ()
    diversity: bool = False
    group_by: str | None = None
    group_size: int = 3

    @property
    def details(self) -> bool:
        """Whether the hits show more than which they are; that depends on the wording."""
        return bool(self.highlights or self.explain)


class FoldedHit(NamedTuple):
    """A document whose passage says nearly the same as a better hit's."""

    id: str
    collection: str | None = None


class HitGroup(NamedTuple):
    """The group of a hit: its value, how many hits have it, and those shown beside the best."""

    value: FilterScalar | None
    size: int
    hits: "list[Hit]"


@dataclass(frozen=True, slots=True)
class Hit:
    """A document, shown by its best passage: `text` is `document text[start:end]`.

    `score` orders the hits. `retrieval_score` is a cosine, `sparse_score` BM25's (None where the
    passage was not found by words), `rerank_score` a logit (None where the pair was not scored),
    `probability` 0 to 1 (None where uncalibrated). `found` is the passage as stage one found it.
    `highlights` and `explanation` are None unless the query asks for them.

    `collection` is given where several were searched, `boost` (-1 to 1) where the query boosts,
    `also` and `folded` where it folds near-duplicates: the first of them, and how many there are.
    `page` and `headings` are those of the document's outline where the passage begins.
    """

    rank: int
    id: str
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata
    confidence: Word
    probability: float | None
    rerank_score: float | None
    retrieval_score: float
    retrieval_rank: int
    truncated: bool
    score: float
    found: Found
    sparse_score: float | None = None
    highlights: tuple[Highlight, ...] | None = None
    explanation: Explanation | None = None
    collection: str | None = None
    boost: float | None = None
    also: Sequence[FoldedHit] = ()
    folded: int = 0
    group: HitGroup | None = None
    page: int | None = None
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RerankReport:
    """How the second stage ended; `reason` says why where it is not `complete`."""

    status: RerankStatus
    requested: int
    scored: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CachedFrom:
    """The earlier search whose answer this is: how near its query is, and how long ago it was."""

    query_similarity: float
    age_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a `Query`.

    `answerable` is None where nothing is calibrated. `language` is the code that decided on the
    rerank, or `und` where none was looked for or query and passages differ. `cached` is None where
    the answer was made for this query; `timings_ms` are always this search's own. `facets` is None
    unless the query asks for them and they were counted in time, `next_cursor` at the end of the
    window and where the query names neither `offset` nor `cursor`.
    """

    query: str
    hits: list[Hit]
    answerable: bool | None
    rerank: RerankReport
    language: str
    timings_ms: dict[str, float]
    models: dict[str, str]
    generation: str
    revision: int
    documents: int
    warnings: list[str]
    cached: CachedFrom | None = None
    facets: dict[str, Facet] | None = None
    next_cursor: str | None = None


stage_observer: ContextVar[Callable[[str, float], None] | None] = ContextVar(
    "stage_observer", default=None
)
"""Is told the name and the milliseconds of each stage of the request under way, when it ends."""


class Timings:
    """How many milliseconds each stage of a request took."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = self._stages[name] = _milliseconds(began)
            if observe := stage_observer.get():
                observe(name, took)

    def finish(self) -> dict[str, float]:
        """The stages in their order, then `total`."""
        return {**self._stages, "total": _milliseconds(self._began)}


def encode_queries(
    encoder: Encoder, texts: Sequence[str], layers: Sequence[int] = ()
) -> list[EncodedQuery]:
    """Encode normalised queries, in input order. A query that is too long is read in windows.

    Windows end on sentence borders where there are any, and share a few sentences, so nothing of
    a query is lost. With `layers`, their token states come with them. Raises `InferenceError`.
    """
    counts = encoder.count_tokens(texts)
    windows = [_windows(encoder, *query) for query in zip(texts, counts, strict=True)]
    every = [window for query in windows for window in query]
    states: list[TokenStates] = []
    if layers:
        vectors, states = encoder.encode_queries_and_states(every, layers)
    else:
        vectors = encoder.encode_queries(every)
    encoded, start = [], 0
    for query, tokens in zip(windows, counts, strict=True):
        part = slice(start, start + len(query))
        encoded.append(EncodedQuery(tuple(query), vectors[part], tokens, tuple(states[part])))
        start += len(query)
    return encoded


def _windows(encoder: Encoder, text: str, tokens: int) -> list[str]:
    if tokens <= encoder.query_budget:
        return [text]
    budget = min(WINDOW, encoder.query_budget)
    overlap = min(_OVERLAP, budget // 4)
    spans = chunk(text, budget=budget, overlap=overlap, count_tokens=encoder.count_tokens)
    return [text[span.start : span.end] for span in spans]


def _milliseconds(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
