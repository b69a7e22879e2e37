"""What a search asks and what it answers."""

from dataclasses import dataclass, field

from service.types import Filters, Metadata, Mode, RerankStatus, Word


@dataclass(frozen=True, slots=True)
class Query:
    """A search as the caller means it; `mode` None is the server's."""

    query: str
    top_k: int = 10
    num_candidates: int = 100
    rerank: bool = True
    filters: Filters = field(default_factory=dict)
    min_confidence: Word | None = None
    timeout_ms: int | None = None
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A document, shown by its best passage: `text` is `document text[start:end]`.

    `retrieval_score` is a cosine, `sparse_score` BM25's (None where the passage was not found by
    words), `rerank_score` a logit (None where the pair was not scored),
    `probability` 0 to 1 (None where uncalibrated). `score` is what orders the hits.
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
    sparse_score: float | None = None


QUERY_FILLS_WINDOW = "the query fills the reranker's whole window"
"""Why a rerank is skipped that another wording of the query may well get."""


@dataclass(frozen=True, slots=True)
class RerankReport:
    """What became of the second stage; `reason` says why when it is not `complete`."""

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

    `answerable` is None where nothing is calibrated; `language` is the code that decided on the
    rerank, `und` where none was looked for or query and passages differ. `cached` is None where
    the answer was made for this query; `timings_ms` are always this search's own.
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
