"""The wire of `/similarity`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.common import RequestBody, RequestId, TimeoutMs

_Query = Annotated[
    str,
    Field(
        json_schema_extra={"minLength": 1},
        description="1 to 4,000 characters after cleaning (the server's `max_query_chars`).",
    ),
]


class PairBody(RequestBody):
    """Two queries."""

    a: _Query = Field(examples=["how do I close a file"])
    b: _Query = Field(examples=["closing an open file"])


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
        }
    )

    pairs: list[PairBody] = Field(min_length=1, max_length=100, description="At most 100 pairs.")
    timeout_ms: TimeoutMs = Field(
        None,
        description="Time for the request in milliseconds; default: the server's `timeout_ms`.",
    )


class VerdictBody(BaseModel):
    """The pair model's verdict on one pair."""

    index: int = Field(description="Place of the pair in the request, from 0.", examples=[0])
    similarity: float = Field(
        description="Cosine of the two queries, -1 to 1; 1 for equal ones.", examples=[0.972341]
    )
    same: bool = Field(description="Whether `similarity >= threshold`.", examples=[True])
    truncated: bool = Field(description="Whether the model ignored the end of one.")


class SimilarityResponse(BaseModel):
    """A verdict for each pair."""

    results: list[VerdictBody] = Field(description="In the order of the request.")
    threshold: float = Field(
        description="`same` is true if `similarity` is at least this cosine.", examples=[0.93]
    )
    model: str = Field(description="The pair model.", examples=["pair-model"])
    timings_ms: dict[str, float] = Field(
        description="Milliseconds per stage and in all.",
        examples=[{"normalize": 0.1, "encode": 24.0, "total": 24.3}],
    )
    request_id: RequestId
