"""The wire of reranking in the formats of Cohere, Jina, vLLM and text-embeddings-inference."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.api.schemas.common import RequestId, TimeoutMs
from service.types import Word

MOST_DOCUMENTS = 1000
"""Most documents in one request, as Cohere advises."""

MOST_TOKENS = 32_768
"""Most tokens that are read of a document, whatever the request asks for."""

QUERY: JsonValue = "What is the capital of the United States?"
TEXTS: list[JsonValue] = [
    "Carson City is the capital city of the American state of Nevada.",
    "Washington, D.C. is the capital of the United States.",
]

Json = dict[str, Any]


class LenientBody(BaseModel):
    """A request in another service's format: unknown fields are ignored, types converted."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = Field(
        None, description="Any name: the server has one model of each kind.", examples=["default"]
    )


class SpansBody(BaseModel):
    """Cohere's `relevant_spans`."""

    mode: str = Field("enabled", description="`enabled` or `disabled`.")
    threshold: float = Field(0.1, description="Least relevance of a span, 0 to 1.")
    max_spans: int | None = Field(None, ge=1, description="Most spans of a document.")


class RerankRequest(LenientBody):
    """Documents to rank by a query. `texts` asks for the answer of text-embeddings-inference."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": QUERY, "documents": TEXTS, "top_n": 2}]}
    )

    query: str = Field(description="1 to 4,000 characters after cleaning.", examples=[QUERY])
    documents: list[str | Json] | None = Field(
        None,
        max_length=MOST_DOCUMENTS,
        description='Texts, or objects: `{"text": ...}`, `{"content": [{"type": "text", ...}]}`, '
        "or any fields, which are read as lines `name: value`.",
        examples=[TEXTS],
    )
    texts: list[str] | None = Field(
        None, max_length=MOST_DOCUMENTS, description="In place of `documents`; answers an array."
    )
    top_n: int | None = Field(
        None, ge=0, description="Most results; all if left out or 0.", examples=[2]
    )
    return_documents: bool | None = Field(None, description="Give each result its document.")
    return_text: bool | None = Field(None, description="The same, with `texts`.")
    raw_scores: bool | None = Field(
        None, description="Logits in place of probabilities as scores; cosines without a reranker."
    )
    rank_fields: list[str] | None = Field(
        None, description="Fields of the documents that are read; all if left out."
    )
    max_tokens_per_doc: int | None = Field(
        None, ge=1, description="Tokens that are read of each document; 4,096 if left out."
    )
    truncate_prompt_tokens: int | None = Field(
        None, description="vLLM's name for it; below 1 it changes nothing."
    )
    relevant_spans: SpansBody | None = Field(
        None, description="Name the parts of each document that answer the query."
    )
    timeout_ms: TimeoutMs = Field(None, description="Default: the server's `timeout_ms`.")


class TextBody(BaseModel):
    """A document that is shown again."""

    text: str = Field(description="The document.", examples=[TEXTS[1]])


class SpanBody(BaseModel):
    """A part of a document that answers the query."""

    start: int = Field(description="Where it starts, in code points.", examples=[0])
    end: int = Field(description="Where it ends (exclusive).", examples=[53])
    score: float = Field(
        description="The document's score if only this part matched.", examples=[0.58]
    )


class RerankResultBody(BaseModel):
    """One document."""

    index: int = Field(description="Place of the document in the request, from 0.", examples=[1])
    relevance_score: float = Field(
        description="`probability`; without a calibration another number from 0 to 1 that rises "
        "with the logit. With `raw_scores` the logit.",
        examples=[0.61],
    )
    document: TextBody | str | None = Field(None, description="With `return_documents`.")
    relevant_spans: list[SpanBody] | None = Field(None, description="Best first.")
    confidence: Word = Field(description="As of a hit of `POST /search`.", examples=["high"])
    probability: float | None = Field(
        description="Calibrated probability that it is relevant.", examples=[0.61]
    )
    rerank_score: float | None = Field(
        description="The reranker's score (a logit); null if nothing was reranked.", examples=[65.1]
    )
    truncated: bool = Field(description="Whether the end was not read.")


class TokensBody(BaseModel):
    """Tokens that were read."""

    input_tokens: int = Field(description="Of the query and all documents.", examples=[30])


class VersionBody(BaseModel):
    """The format's version."""

    version: str = Field(description="Of Cohere's API.", examples=["2"])


class UnitsBody(BaseModel):
    """What Cohere would bill."""

    search_units: int = Field(description="Always 1.", examples=[1])


class MetaBody(BaseModel):
    """About the answer."""

    api_version: VersionBody = Field(description="The format.")
    billed_units: UnitsBody = Field(description="For clients that count them.")
    tokens: TokensBody = Field(description="What was read.")
    warnings: list[str] = Field(description="What the caller should know.", examples=[[]])


class UsageBody(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int = Field(description="Tokens of the request.", examples=[30])
    total_tokens: int = Field(description="The same.", examples=[30])


class RerankResponse(BaseModel):
    """All documents once, best first."""

    id: RequestId
    model: str = Field(description="The reranker.", examples=["interaction-v1"])
    results: list[RerankResultBody] = Field(description="At most `top_n`.")
    answerable: bool | None = Field(
        description="False if no document reaches `medium`; null without a calibration.",
        examples=[True],
    )
    meta: MetaBody = Field(description="As Cohere's.")
    usage: UsageBody = Field(description="As Jina's.")


class RankBody(BaseModel):
    """One text, in the format of text-embeddings-inference."""

    index: int = Field(description="Place of the text in the request, from 0.", examples=[1])
    score: float = Field(description="As `relevance_score`.", examples=[0.61])
    text: str | None = Field(None, description="With `return_text`.")


class ScoreRequest(LenientBody):
    """vLLM's pairs: one text or as many on the left as on the right."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text_1": QUERY, "text_2": TEXTS}]})

    text_1: str | list[str] | None = Field(None, description="The query or queries.")
    text_2: str | list[str] | None = Field(None, description="The documents.")
    queries: str | list[str] | None = Field(None, description="Another name of `text_1`.")
    documents: str | list[str] | None = Field(None, description="Another name of `text_2`.")
    data_1: str | list[str] | None = Field(None, description="Another name of `text_1`.")
    data_2: str | list[str] | None = Field(None, description="Another name of `text_2`.")
    raw_scores: bool | None = Field(None, description="Logits in place of probabilities.")


class ScoreBody(BaseModel):
    """The score of one pair."""

    index: int = Field(description="Place of the pair, from 0.", examples=[0])
    object: Literal["score"] = Field("score", description="Always `score`.")
    score: float = Field(description="As `relevance_score`.", examples=[0.61])


class ScoreResponse(BaseModel):
    """A score for each pair, in their order."""

    id: RequestId
    object: Literal["list"] = Field("list", description="Always `list`.")
    model: str = Field(description="The reranker.", examples=["interaction-v1"])
    data: list[ScoreBody] = Field(description="One score a pair.")
    usage: UsageBody = Field(description="Tokens that were read.")
