"""Searches on the wire."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.common import ErrorBody, RequestBody, RequestId
from service.api.schemas.document_schemas import TEXT, TITLE, Metadata
from service.api.schemas.filter_schemas import DESCRIPTION as FILTERS
from service.api.schemas.filter_schemas import EXAMPLES as FILTER_EXAMPLES
from service.api.schemas.filter_schemas import FiltersField

MOST_QUERIES = 1000
"""In one request, whatever the server's `max_batch_queries`."""

ConfidenceWord = Literal["low", "medium", "high"]


class SearchRequest(RequestBody):
    """A search. Only `query` is required; unknown fields are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "catch several exceptions in one handler"},
                {"query": "Đạo hàm của hàm hợp", "top_k": 3, "filters": {"grade": [11, 12]}},
            ],
            "not": {  # confidences come from the rerank
                "required": ["min_confidence", "rerank"],
                "properties": {"min_confidence": {"type": "string"}, "rerank": {"const": False}},
            },
        },
    )

    query: str = Field(
        json_schema_extra={"minLength": 1},  # an empty one is refused by itself within a batch
        description=(
            "What is sought, in any language; 1 to 4,000 characters after cleaning (the server's "
            "`max_query_chars`). Send it without `query: `: the service adds the prefix."
        ),
        examples=["catch several exceptions in one handler"],
    )
    top_k: int = Field(
        10, ge=1, le=100, description="Hits in the answer. Never changes which documents win."
    )
    num_candidates: int = Field(
        100,
        ge=1,
        le=1000,
        description="Passages of stage one; stage two reranks the first `rerank_depth` of them.",
    )
    mode: Literal["dense", "sparse", "hybrid"] | None = Field(
        None,
        description="How stage one finds passages: by vectors (`dense`), by words (`sparse`) or by "
        "both (`hybrid`); the server's `search_mode`, `dense` by default, if left out.",
    )
    rerank: bool = Field(
        True, description="`false` keeps stage one's order; the hits are then `uncalibrated`."
    )
    filters: FiltersField = Field(
        default_factory=dict,
        description=f"{FILTERS} Narrows the candidates before `num_candidates` are taken.",
        examples=FILTER_EXAMPLES,
    )
    min_confidence: ConfidenceWord | None = Field(
        None, description="Leave out hits below this confidence. Needs `rerank: true`."
    )
    timeout_ms: int | None = Field(
        None,
        ge=1,
        le=600_000,
        description=(
            "Time for this search in milliseconds; the server's `timeout_ms` if left out. When it "
            "runs out during the rerank, the answer says `rerank.status: partial`; before stage "
            "one has an answer, it is 504."
        ),
    )
    return_text: bool = Field(True, description="`false` leaves `text` out of the hits.")


class HitBody(BaseModel):
    """A document, shown by its best passage."""

    rank: int = Field(description="1-based.", examples=[1])
    id: str = Field(description="The document's id.", examples=["py-except"])
    title: str = Field(description="The document's title, or an empty text.", examples=[TITLE])
    text: str | None = Field(
        description="The best passage, as it is in the document.", examples=[TEXT]
    )
    start: int = Field(
        description="Where the passage begins in the document, in code points.", examples=[0]
    )
    end: int = Field(description="Where it ends (exclusive).", examples=[len(TEXT)])
    metadata: Metadata = Field(description="The document's metadata.")
    confidence: Literal["high", "medium", "low", "uncalibrated"] = Field(
        description="The word for `probability`; `uncalibrated` where there is none."
    )
    probability: float | None = Field(
        description="Calibrated probability (0 to 1) that the hit is relevant.", examples=[0.93]
    )
    rerank_score: float | None = Field(
        description="The reranker's score (a logit); null where the pair was not scored.",
        examples=[5.21],
    )
    retrieval_score: float = Field(
        description="Cosine of query and passage, five decimals.", examples=[0.88172]
    )
    sparse_score: float | None = Field(
        None,
        description="BM25 of query and passage, above 0; not comparable between queries. Null "
        "where the passage was not found by words.",
    )
    retrieval_rank: int = Field(
        description="1-based rank in stage one, in the order of its mode.", examples=[4]
    )
    truncated: bool = Field(
        description="The passage was longer than the reranker reads; its end was not seen."
    )


class RerankBody(BaseModel):
    """What became of stage two."""

    status: Literal["complete", "partial", "skipped", "failed"] = Field(
        description="`complete`: all that were to be; `partial`: the time ran out; `skipped` and "
        "`failed`: none, for the `reason` given."
    )
    requested: int = Field(
        description="Candidates to be reranked, at most the server's `rerank_depth`.",
        examples=[100],
    )
    scored: int = Field(description="Candidates that were.", examples=[100])
    reason: str | None = Field(None, description="Why the status is not `complete`.")


class ModelsBody(BaseModel):
    """What answered."""

    encoder: str = Field(description="The bi-encoder.", examples=["e5-small"])
    reranker: str = Field(description="The reranker, or `none`.", examples=["interaction-v1"])
    calibration: str = Field(
        description="The calibration artifact's name; `none` where all hits are uncalibrated.",
        examples=["e5-small+interaction-v1"],
    )
    order: str = Field(
        description="The score that ordered the hits.", examples=["fused (rerank_score 0.35)"]
    )


class IndexBody(BaseModel):
    """What was searched."""

    generation: str = Field(
        description="The name of the index on the disk.", examples=["g-00000003"]
    )
    revision: int = Field(
        description="Grows with every write to the documents; two answers with the same generation "
        "and revision searched the same.",
        examples=[1434],
    )
    documents: int = Field(description="Documents in it.", examples=[1434])


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
        description=(
            "False when no hit reaches `medium`: probably nothing here answers the query. "
            "Null where the hits are uncalibrated."
        ),
        examples=[True],
    )
    rerank: RerankBody = Field(description="What became of stage two.")
    timings_ms: dict[str, float] = Field(
        description="Milliseconds of this search per stage and in all.",
        examples=[{"normalize": 0.1, "encode": 12.0, "retrieve": 0.8, "rerank": 51.7, "total": 65}],
    )
    models: ModelsBody = Field(description="What answered.")
    index: IndexBody = Field(description="What was searched.")
    warnings: list[str] = Field(
        description="What the caller should know, such as a removed prefix."
    )
    cached: CachedBody | None = Field(
        None,
        description="Says that the answer is an earlier search's, whose query means the same; null "
        "where it was made for this one.",
        examples=[None],
    )
    request_id: RequestId


class SearchBatchRequest(RequestBody):
    """Several searches. Each is one as `POST /search` takes it."""

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
        },
    )

    queries: list[SearchRequest] = Field(
        min_length=1,
        max_length=MOST_QUERIES,
        description="The searches, at most the server's `max_batch_queries` (64).",
    )


class SearchBatchResponse(BaseModel):
    """An answer for each search, in the order of the request."""

    results: list[SearchResponse | ErrorBody] = Field(
        description="What `POST /search` would have answered: a result, or the envelope of an "
        "error, which is told by its `error`."
    )
    timings_ms: dict[str, float] = Field(
        description="Milliseconds of the request in all; each result has those of its search.",
        examples=[{"total": 188.4}],
    )
    request_id: RequestId
