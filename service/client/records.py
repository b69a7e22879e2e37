"""What the service answers, as records. Fields that a newer service adds are left out."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Hit:
    """A document, shown by its best passage: `start` and `end` are code points of its text."""

    rank: int
    id: str
    title: str
    text: str | None
    start: int
    end: int
    metadata: dict[str, Any]
    confidence: Literal["high", "medium", "low", "uncalibrated"]
    probability: float | None
    rerank_score: float | None
    retrieval_score: float
    retrieval_rank: int
    truncated: bool
    sparse_score: float | None = None


@dataclass(frozen=True, slots=True)
class RerankInfo:
    """What became of stage two: candidates asked for and scored, and why not all."""

    status: Literal["complete", "partial", "skipped", "failed"]
    requested: int
    scored: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ModelsInfo:
    """What answered, and by which score the hits are ordered."""

    encoder: str
    reranker: str
    calibration: str
    order: str = ""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What was searched."""

    generation: str
    revision: int
    documents: int


@dataclass(frozen=True, slots=True)
class CachedInfo:
    """The earlier search whose answer this is: how near its query is, and how long ago it was."""

    query_similarity: float
    age_ms: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a search. `answerable` is None where the hits are uncalibrated.

    `cached` is None where the answer was made for this query.
    """

    query: str
    hits: list[Hit]
    answerable: bool | None
    rerank: RerankInfo
    timings_ms: dict[str, float]
    models: ModelsInfo
    index: IndexInfo
    warnings: list[str]
    request_id: str
    cached: CachedInfo | None = None


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Do the queries of pair `index` mean the same? `truncated`: one was not read to its end."""

    index: int
    similarity: float
    same: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class SimilarityResult:
    """A verdict for each pair, in their order: `same` where `similarity >= threshold`."""

    results: list[PairVerdict]
    threshold: float
    model: str
    timings_ms: dict[str, float]
    request_id: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service can search, and per part `ok` or what is wrong."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]
    documents: int | None = None
    passages: int | None = None
    notes: list[str] = field(default_factory=list)
