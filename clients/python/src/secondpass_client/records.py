"""What the service answers, as records. Fields that a newer service adds are left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from secondpass_client.details import Explanation, Facet, Highlight

__all__ = [
    "CachedInfo",
    "Collection",
    "CopyProgress",
    "FoldedDocument",
    "Health",
    "Hit",
    "HitGroup",
    "IndexInfo",
    "Job",
    "KeyInfo",
    "KeyLimits",
    "ModelsInfo",
    "PairVerdict",
    "PutResult",
    "RankedDocument",
    "Refusal",
    "RefusedDocument",
    "ReplacedDocument",
    "RerankInfo",
    "RerankResult",
    "SearchResult",
    "SimilarityResult",
    "StoredDocument",
    "WireDocument",
    "WrittenDocument",
]

WireDocument = Mapping[str, Any]
"""`{"id", "title"?, "text", "metadata"?}`."""


@dataclass(frozen=True, slots=True)
class FoldedDocument:
    """A document whose passage says nearly the same as a better hit's."""

    id: str
    collection: str | None = None


@dataclass(frozen=True, slots=True)
class HitGroup:
    """The group of a hit: its value, how many hits have it, and those shown beside the best."""

    value: str | int | float | bool | None
    size: int
    hits: "list[Hit]"


@dataclass(frozen=True, slots=True)
class Hit:
    """A document, shown by its best passage: `start` and `end` are code points of its text.

    The last fields are there where the search asked for `collections`, `boost`, `diversity` (`also`
    and `folded`) or `group_by`.
    """

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
    highlights: list[Highlight] | None = None
    explanation: Explanation | None = None
    collection: str | None = None
    boost: float | None = None
    also: list[FoldedDocument] | None = None
    folded: int | None = None
    group: HitGroup | None = None
    page: int | None = None
    headings: list[str] = field(default_factory=list)


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
    encoder_backend: str = ""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What was searched."""

    generation: str
    revision: int
    documents: int | None


@dataclass(frozen=True, slots=True)
class CachedInfo:
    """The earlier search whose answer this is: how near its query is, and how long ago it was."""

    query_similarity: float
    age_ms: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a search. `answerable` is None where the hits are uncalibrated.

    `cached` is None where the answer was made for this query. `next_cursor` asks for the next page,
    where the search has an `offset` or a `cursor`.
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
    facets: dict[str, Facet] | None = None
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """One of the texts that a request brought along; `index` is its place there, from 0.

    `relevance_score` is the probability; where there is none, a number that rises with the score of
    the model. `rerank_score` is None where the service has no reranker.
    """

    index: int
    relevance_score: float
    confidence: Literal["high", "medium", "low", "uncalibrated"]
    probability: float | None
    rerank_score: float | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The texts of a request, best first. `answerable` is None where nothing is calibrated."""

    results: list[RankedDocument]
    answerable: bool | None
    model: str
    id: str


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
class KeyLimits:
    """Requests a second, requests at once, and the part of each queue; None for no own limit."""

    rate: float | None = None
    burst: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What the client's API key may do. `collections` is None for all; `expires` is ISO 8601."""

    name: str
    scopes: list[str]
    collections: list[str] | None
    filtered: bool
    expires: str | None
    limits: KeyLimits


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service can search, and per part `ok` or what is wrong."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]
    documents: int | None = None
    passages: int | None = None
    backends: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it was last written; `indexed` is whether searches see this version.

    `problem` says why they never will.
    """

    id: str
    title: str
    text: str
    metadata: dict[str, Any]
    version: int
    indexed: bool
    problem: str | None = None
    outline: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """What a write did: `created` is false where the document was there already."""

    id: str
    version: int
    indexed: bool
    problem: str | None = None
    created: bool = False


@dataclass(frozen=True, slots=True)
class RefusedDocument:
    """A document that was not taken: its place in what was given, from 0, and why."""

    index: int
    id: str | None
    error: str


@dataclass(frozen=True, slots=True)
class ReplacedDocument:
    """A document that was not stored, as the one at `by`, in the same request, has its id."""

    index: int
    id: str
    by: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of many documents. `indexed`: none of them waits to be seen by searches."""

    accepted: int = 0
    refused: list[RefusedDocument] = field(default_factory=list)
    replaced: list[ReplacedDocument] = field(default_factory=list)
    indexed: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line (1-based) that was not taken; `field` is None where the whole line is at fault."""

    line: int
    id: str | None
    field: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """How far a job is: `done` and `refused` of `total` documents, or of queries.

    `rate` is in documents a second. `refusals` has the first 100; it is empty in a list of jobs.
    `result` is the report of an evaluation or a calibration that is done.
    """

    job_id: str
    collection: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    refused: int
    total: int
    rate: float | None = None
    seconds_left: float | None = None
    created: str = ""
    finished: str | None = None
    reason: str | None = None
    note: str | None = None
    refusals: list[Refusal] = field(default_factory=list)
    kind: Literal["upload", "evaluation", "calibration"] = "upload"
    result: dict[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        """Nothing more will happen to it."""
        return self.state not in {"queued", "running"}


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy is: documents of the source dealt with, of `total`."""

    source: str
    mirror: bool
    state: Literal["running", "done", "failed"]
    copied: int
    removed: int
    total: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection; the figures are None where it could not be opened, and `problems` says why.

    `documents` and `passages` are those that searches see; `staged` documents wait to be encoded.
    """

    name: str
    aliases: list[str]
    created: str
    settings: dict[str, Any]
    documents: int | None = None
    passages: int | None = None
    staged: int | None = None
    failed: int | None = None
    revision: int | None = None
    generation: str | None = None
    encoder: dict[str, Any] | None = None
    reranker: str | None = None
    problems: list[str] = field(default_factory=list)
    copy: CopyProgress | None = None
