"""The wire of `/search`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.common import ErrorBody, RequestBody, RequestId, TimeoutMs
from service.api.schemas.detail_schemas import (
    MOST_FACET_VALUES,
    MOST_FACETS,
    MOST_HIGHLIGHTS,
    ExplanationBody,
    FacetBody,
    FieldName,
    FieldsBody,
    HighlightBody,
)
from service.api.schemas.document_schemas import TEXT, Id, StoredMetadata, Title
from service.api.schemas.filter_schemas import DESCRIPTION as FILTERS
from service.api.schemas.filter_schemas import EXAMPLES as FILTER_EXAMPLES
from service.api.schemas.filter_schemas import FiltersField
from service.api.schemas.order_schemas import (
    Boosts,
    CollectionNames,
    Cursor,
    Diversity,
    GroupBy,
    GroupSize,
    MinProbability,
    Offset,
    OrderedHit,
)
from service.types import FilterScalar, Mode, RerankStatus, Word

Json = dict[str, Any]

MOST_QUERIES = 1000
"""In one request, whatever the server's `max_batch_queries`."""


def _not_together(**fields: Json) -> Json:
    return {"not": {"required": list(fields), "properties": fields}}


class SearchRequest(RequestBody):
    """A search. Only `query` is required; unknown fields are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "catch several exceptions in one handler"},
                {"query": "Đạo hàm của hàm hợp", "top_k": 3, "filters": {"grade": [11, 12]}},
                {
                    "query": "catch several exceptions in one handler",
                    "fields": {"exclude": ["metadata.source"]},
                    "highlights": 1,
                    "explain": True,
                    "facets": ["topic"],
                },
                {
                    "query": "release notes",
                    "offset": 0,
                    "boost": [{"field": "published", "scale": 90, "weight": 0.5}],
                    "diversity": True,
                    "group_by": "topic",
                },
            ],
            "allOf": [
                # The rerank gives the confidence.
                _not_together(min_confidence={"type": "string"}, rerank={"const": False}),
                _not_together(min_probability={"type": "number"}, rerank={"const": False}),
                _not_together(cursor={"type": "string"}, offset={"type": "integer"}),
            ],
        }
    )

    query: str = Field(
        json_schema_extra={"minLength": 1},  # within a batch, an empty one fails on its own
        description="The question or keywords, in any language; 1 to 4,000 characters after "
        "cleaning (the server's `max_query_chars`). Send it without `query: `: the service adds "
        "the prefix.",
        examples=["catch several exceptions in one handler"],
    )
    top_k: int = Field(
        10,
        ge=1,
        le=100,
        description="Most hits in the answer. It does not change which documents are found.",
    )
    num_candidates: int = Field(
        100,
        ge=1,
        le=1000,
        description="Passages of stage one; stage two reranks the first `rerank_depth` of them.",
    )
    mode: Mode | None = Field(
        None,
        description="How stage one finds passages: by vectors (`dense`), by words (`sparse`) or by "
        "both (`hybrid`). Default: the server's `search_mode`, which is `dense` unless set.",
    )
    rerank: bool = Field(
        True, description="`false` keeps stage one's order; the hits are then `uncalibrated`."
    )
    filters: FiltersField = Field(
        default_factory=dict,
        description=f"{FILTERS} Narrows the candidates before `num_candidates` are taken.",
        examples=FILTER_EXAMPLES,
    )
    min_confidence: Literal["low", "medium", "high"] | None = Field(
        None, description="Leave out hits below this confidence. Needs `rerank: true`."
    )
    timeout_ms: TimeoutMs = Field(
        None,
        description="Time for this search in milliseconds; default: the server's `timeout_ms`. If "
        "it runs out during the rerank, the answer has `rerank.status: partial`; before stage one "
        "is done, the answer is 504.",
    )
    return_text: bool = Field(True, description="`false` leaves `text` out of the hits.")
    fields: FieldsBody | None = Field(
        None, description="What of a document the hits show; by default all."
    )
    highlights: int = Field(
        0,
        ge=0,
        le=MOST_HIGHLIGHTS,
        description="Most parts of a hit's text to mark as likely to hold the answer. With any, "
        "the query's words are marked too.",
    )
    explain: bool = Field(False, description="Say for each hit why it is there.")
    facets: list[FieldName] = Field(
        default_factory=list,
        max_length=MOST_FACETS,
        description="Metadata fields whose values are counted among all documents under `filters`, "
        "not among the hits. A document with a list counts once for each value of it.",
        examples=[["topic"]],
    )
    facet_values: int = Field(
        10, ge=1, le=MOST_FACET_VALUES, description="Most values of each facet."
    )
    offset: Offset = None
    cursor: Cursor = None
    min_probability: MinProbability = None
    boost: Boosts = Field(default_factory=list)
    diversity: Diversity = False
    group_by: GroupBy = None
    group_size: GroupSize = 3
    collections: CollectionNames = None


class HitBody(OrderedHit):
    """A document, shown by its best passage."""

    rank: int = Field(description="1-based.", examples=[1])
    id: Id
    title: Title
    text: str | None = Field(description="The best passage, unchanged.", examples=[TEXT])
    start: int = Field(description="Start in the document, in code points.", examples=[0])
    end: int = Field(description="Where it ends (exclusive).", examples=[len(TEXT)])
    page: int | None = Field(
        None,
        description="The page on which it begins, if the document's outline tells.",
        examples=[3],
    )
    headings: list[str] = Field(
        default_factory=list,
        description="The headings over it, outermost first, if the document's outline tells.",
        examples=[["Errors", "Several exceptions"]],
    )
    metadata: StoredMetadata
    confidence: Word = Field(
        description="The level of `probability`; `uncalibrated` if it is null."
    )
    probability: float | None = Field(
        description="Calibrated probability (0 to 1) that the hit is relevant.", examples=[0.93]
    )
    rerank_score: float | None = Field(
        description="The reranker's score (a logit); null if it did not score the passage.",
        examples=[5.21],
    )
    retrieval_score: float = Field(description="Cosine of query and passage.", examples=[0.88172])
    sparse_score: float | None = Field(
        None,
        description="BM25 of query and passage, above 0; not comparable between queries. Null if "
        "the passage was not found by words.",
    )
    retrieval_rank: int = Field(description="1-based rank in stage one.", examples=[4])
    truncated: bool = Field(description="Whether the reranker ignored the passage's end.")
    highlights: list[HighlightBody] | None = Field(
        None,
        description="The likeliest part first, then the others, then the first 50 of the query's "
        "words in their order; null unless asked for.",
    )
    explanation: ExplanationBody | None = Field(
        None, description="Why the hit is where it is; null unless asked for."
    )
    group: "GroupBody | None" = Field(
        None, description="The hit's group; only with `group_by`.", examples=[None]
    )


class GroupBody(BaseModel):
    """The group of a hit."""

    value: FilterScalar | None = Field(
        description="The value of `group_by`, of a list the first; null for a document without "
        "one, which is a group of its own.",
        examples=["python"],
    )
    size: int = Field(description="Hits that have the value, among all pages.", examples=[4])
    hits: list[HitBody] = Field(
        description="Further hits of the group, best first, up to `group_size` in all.",
        examples=[[]],
    )


class RerankBody(BaseModel):
    """The outcome of stage two."""

    status: RerankStatus = Field(
        description="`complete`: all candidates were scored; `partial`: the time ran out; "
        "`skipped` and `failed`: none was scored, for the given `reason`."
    )
    requested: int = Field(description="At most the server's `rerank_depth`.", examples=[100])
    scored: int = Field(description="Candidates that were scored.", examples=[100])
    reason: str | None = Field(None, description="Why the status is not `complete`.")


class ModelsBody(BaseModel):
    """The models of the answer."""

    encoder: str = Field(description="The bi-encoder.", examples=["e5-small"])
    encoder_backend: str = Field(
        description="What ran the encoder for the query.", examples=["torch-bf16"]
    )
    reranker: str = Field(description="The reranker, or `none`.", examples=["interaction-v1"])
    calibration: str = Field(
        description="The calibration artifact's name; `none` if all hits are uncalibrated.",
        examples=["e5-small+interaction-v1"],
    )
    order: str = Field(
        description="The score that orders the hits; `+ boost` if boosts moved them.",
        examples=["fused (rerank_score 0.35)"],
    )


class IndexBody(BaseModel):
    """The index of the answer; of several, their names joined by `+`, and sums."""

    generation: str = Field(description="The index's name on disk.", examples=["g34-3dda5a42"])
    revision: int = Field(
        description="Grows with every write to the documents; two answers with the same generation "
        "and revision searched the same index.",
        examples=[1434],
    )
    documents: int | None = Field(
        description="Documents in it; null for an API key with a filter.", examples=[1434]
    )


class CachedBody(BaseModel):
    """The earlier search whose answer this is."""

    query_similarity: float = Field(
        description="Cosine of its query and this one by the pair model.", examples=[0.972341]
    )
    age_ms: int = Field(description="Milliseconds since it was answered.", examples=[51200])


class SearchResponse(BaseModel):
    """The answer to a search."""

    query: str = Field(
        description="The query as it was sent.",
        examples=["catch several exceptions in one handler"],
    )
    hits: list[HitBody] = Field(description="Best first, at most `top_k`.")
    answerable: bool | None = Field(
        description="False if no hit reaches `medium`: probably no document answers the query. "
        "Null if the hits are uncalibrated.",
        examples=[True],
    )
    rerank: RerankBody = Field(description="The outcome of stage two.")
    timings_ms: dict[str, float] = Field(
        description="Milliseconds per stage and in all.",
        examples=[{"normalize": 0.1, "encode": 12.0, "retrieve": 0.8, "rerank": 51.7, "total": 65}],
    )
    models: ModelsBody = Field(description="The models of the answer.")
    index: IndexBody = Field(description="The index of the answer.")
    warnings: list[str] = Field(description="Notes for the caller, such as a removed prefix.")
    cached: CachedBody | None = Field(
        None,
        description="The earlier search whose answer this is, because its query means the same; "
        "null if this search made its own answer.",
        examples=[None],
    )
    facets: dict[str, FacetBody] | None = Field(
        None,
        description="By field; null unless asked for, and if counting takes more than a second.",
    )
    next_cursor: str | None = Field(
        None,
        description="The `cursor` of the next page; null after the last one. Left out unless the "
        "request has `offset` or `cursor`.",
        examples=[None],
    )
    request_id: RequestId


class SearchBatchRequest(RequestBody):
    """Several searches, each as for `POST /search`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "queries": [
                        {"query": "catch several exceptions in one handler", "top_k": 3},
                        {"query": "Đạo hàm của hàm hợp", "filters": {"grade": [11, 12]}},
                    ]
                }
            ]
        }
    )

    queries: list[SearchRequest] = Field(
        min_length=1,
        max_length=MOST_QUERIES,
        description="The searches, at most the server's `max_batch_queries` (64).",
    )


class SearchBatchResponse(BaseModel):
    """An answer for each search, in the order of the request."""

    results: list[SearchResponse | ErrorBody] = Field(
        description="The answer of `POST /search` to each: a result or an error envelope, which "
        "has the field `error`."
    )
    timings_ms: dict[str, float] = Field(
        description="Milliseconds of the whole request; each result has those of its search.",
        examples=[{"total": 188.4}],
    )
    request_id: RequestId
