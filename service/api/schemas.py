"""The wire: what clients send and get. Names that stay."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.api.schemas_filters import DESCRIPTION as FILTERS
from service.api.schemas_filters import EXAMPLES as FILTER_EXAMPLES
from service.api.schemas_filters import FiltersField

MOST_FIELDS = 50

ConfidenceWord = Literal["low", "medium", "high"]


class RequestBody(BaseModel):
    """What a client sends: unknown fields are refused, and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _at_most_fields(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            raise ValueError(f"a request has at most {MOST_FIELDS} fields")
        return value


class SearchRequest(RequestBody):
    """A search. Only `query` is required; unknown fields are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "catch several exceptions in one handler"},
                {"query": "Đạo hàm của hàm hợp", "top_k": 3, "filters": {"grade": [11, 12]}},
            ]
        },
    )

    query: str = Field(
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
    id: str = Field(description="The document's id.", examples=["topic:try"])
    title: str = Field(description="The document's title, or an empty text.", examples=["try"])
    text: str | None = Field(description="The best passage, as it stands in the document.")
    start: int = Field(description="Where the passage begins in the document, in code points.")
    end: int = Field(description="Where it ends (exclusive).")
    metadata: dict[str, Any] = Field(
        description="The document's metadata.", examples=[{"kind": "topic"}]
    )
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
    retrieval_score: float = Field(description="Cosine of query and passage.", examples=[0.88])
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
    calibration: str = Field(description="The calibration artifact's name, or `none`.")
    order: str = Field(
        description="The score that ordered the hits.", examples=["fused (rerank_score 0.35)"]
    )


class IndexBody(BaseModel):
    """What was searched."""

    generation: str = Field(description="The name of the index on the disk.")
    revision: int = Field(
        description="Grows with every write to the documents; two answers with the same generation "
        "and revision searched the same."
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

    query: str = Field(description="The query as it was sent.")
    hits: list[HitBody] = Field(description="Best first, at most `top_k`.")
    answerable: bool | None = Field(
        description=(
            "False when no hit reaches `medium`: probably nothing here answers the query. "
            "Null where the hits are uncalibrated."
        )
    )
    rerank: RerankBody = Field(description="What became of stage two.")
    timings_ms: dict[str, float] = Field(
        description="Milliseconds of this search per stage and in all.",
        examples=[{"normalize": 0.1, "encode": 12.0, "retrieve": 0.8, "rerank": 900, "total": 915}],
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
    )
    request_id: str = Field(description="That of the header `X-Request-ID`.")


class PairBody(RequestBody):
    """Two queries."""

    a: str = Field(
        description="1 to 4,000 characters after cleaning (the server's `max_query_chars`).",
        examples=["how do I close a file"],
    )
    b: str = Field(description="The same.", examples=["closing an open file"])


class SimilarityRequest(RequestBody):
    """Pairs of queries. Only `pairs` is required; unknown fields are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "pairs": [
                        {"a": "how do I close a file", "b": "closing an open file"},
                        {"a": "Đạo hàm của hàm hợp", "b": "Tổng của cấp số nhân"},
                    ]
                }
            ]
        },
    )

    pairs: list[PairBody] = Field(
        min_length=1, max_length=100, description="What to compare, at most 100 pairs."
    )
    timeout_ms: int | None = Field(
        None,
        ge=1,
        le=600_000,
        description="Time for the request in milliseconds; the server's `timeout_ms` if left out.",
    )


class VerdictBody(BaseModel):
    """What the pair model says of one pair."""

    index: int = Field(description="Place of the pair in the request, from 0.", examples=[0])
    similarity: float = Field(
        description="Cosine of the two queries, -1 to 1; 1 for equal ones.", examples=[0.972341]
    )
    same: bool = Field(description="Do they mean the same: `similarity >= threshold`.")
    truncated: bool = Field(
        description="One was longer than the model reads; its end was not compared."
    )


class SimilarityResponse(BaseModel):
    """A verdict for each pair."""

    results: list[VerdictBody] = Field(description="In the order of the request.")
    threshold: float = Field(description="Cosine from which `same` is true.", examples=[0.93])
    model: str = Field(description="The pair model.", examples=["pair-model"])
    timings_ms: dict[str, float] = Field(
        description="Milliseconds per stage and in all.",
        examples=[{"normalize": 0.1, "encode": 24.0, "total": 24.3}],
    )
    request_id: str = Field(description="That of the header `X-Request-ID`.")


class ErrorDetail(BaseModel):
    """One thing that is wrong."""

    field: str = Field(description="Where, as a dotted path.", examples=["top_k"])
    message: str = Field(
        description="What is wrong, with the limit.",
        examples=["Input should be less than or equal to 100"],
    )


class ErrorContent(BaseModel):
    """The content of the one error envelope."""

    code: str = Field(description="For programs; stays.", examples=["invalid_request"])
    message: str = Field(description="For people.")
    request_id: str = Field(description="That of the header `X-Request-ID`; the log has it.")
    details: list[ErrorDetail] | None = Field(None, description="The first 20 wrong fields.")


class ErrorBody(BaseModel):
    """Every error, on every path."""

    error: ErrorContent = Field(description="What went wrong.")


class LiveBody(BaseModel):
    """The process is up."""

    status: Literal["ok"] = Field("ok", description="Always `ok`.")


class ReadyBody(BaseModel):
    """What is ready and what is not."""

    status: Literal["ready", "not_ready"] = Field(description="`ready` when all checks are `ok`.")
    checks: dict[str, str] = Field(
        description="`ok`, or what is wrong, per part.",
        examples=[{"models": "ok", "index": "ok"}],
    )
    documents: int | None = Field(None, description="Documents in the index.")
    passages: int | None = Field(None, description="Passages in the index.")
    notes: list[str] = Field(
        default_factory=list, description="What an operator should know, such as a rebuilt index."
    )
