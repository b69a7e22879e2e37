"""The wire of embeddings in the formats of OpenAI, Cohere and text-embeddings-inference."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.common import RequestId
from service.api.schemas.rerank_schemas import LenientBody, MetaBody, UsageBody

MOST_INPUTS = 2048
"""Texts in one request, as OpenAI allows."""

MOST_CHARS = 1 << 18
"""Most characters that one request may split into tokens: the answer lists every token."""

InputType = Literal[
    "query", "passage", "document", "search_query", "search_document",
    "classification", "clustering", "image",
]  # fmt: skip
_TEXT = "how do I close a file"
_VECTOR = [0.0123, -0.0456]


class EmbeddingRequest(LenientBody):
    """Texts to encode, in OpenAI's format."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": [_TEXT], "model": "e5-small:query"}]}
    )

    model: str | None = Field(
        None,
        description="Any name; one that ends in `:query` or `:passage` says what the texts are.",
        examples=["e5-small:query"],
    )
    input: Any = Field(
        description="A text or at most 2,048 texts; token ids are refused.",
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": MOST_INPUTS},
            ]
        },
        examples=[_TEXT],
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`base64` gives little-endian float32."
    )
    dimensions: int | None = Field(
        None, ge=1, description="Cut each vector to its first numbers; it keeps unit length."
    )
    input_type: InputType | None = Field(
        None,
        description="Whether the texts are queries or passages, which have different prefixes. "
        "Default: `passage`, with a header `warnings`.",
    )


class EmbeddingBody(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = Field("embedding", description="Always `embedding`.")
    index: int = Field(description="Place of the text, from 0.", examples=[0])
    embedding: list[float] | str = Field(description="Of unit length.", examples=[_VECTOR])


class EmbeddingResponse(BaseModel):
    """A vector for each text, in their order."""

    object: Literal["list"] = Field("list", description="Always `list`.")
    data: list[EmbeddingBody] = Field(description="One vector a text.")
    model: str = Field(description="The encoder.", examples=["e5-small"])
    usage: UsageBody = Field(description="Tokens that were read.")


class ModelBody(BaseModel):
    """A model that requests may name."""

    id: str = Field(description="What a request may name.", examples=["e5-small:query"])
    object: Literal["model"] = Field("model", description="Always `model`.")
    created: int = Field(0, description="Always 0.", examples=[0])
    owned_by: str = Field("secondpass", description="Always `secondpass`.", examples=["secondpass"])


class ModelsList(BaseModel):
    """The models of this server."""

    object: Literal["list"] = Field("list", description="Always `list`.")
    data: list[ModelBody] = Field(description="Encoder and reranker.")


class CohereEmbedRequest(LenientBody):
    """Texts to encode, in Cohere's format."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": [_TEXT], "input_type": "search_query"}]}
    )

    texts: list[str] | None = Field(
        None, description="At most 2,048 texts.", max_length=MOST_INPUTS
    )
    inputs: list[dict[str, Any]] | None = Field(
        None,
        max_length=MOST_INPUTS,
        description='In place of `texts`: `{"content": [{"type": "text", "text": ...}]}`.',
    )
    input_type: InputType | None = Field(None, description="As in `POST /v1/embeddings`.")
    embedding_types: list[Literal["float", "base64"]] | None = Field(
        None, description="`float` if left out; the server has no other kinds."
    )
    output_dimension: int | None = Field(None, ge=1, description="As `dimensions`.")


class VectorsBody(BaseModel):
    """The vectors of all texts by kind."""

    float_: list[list[float]] | None = Field(
        None, description="One list of numbers a text.", alias="float", examples=[[_VECTOR]]
    )
    base64: list[str] | None = Field(None, description="One text of little-endian float32 a text.")


class CohereEmbedResponse(BaseModel):
    """Vectors in the order of the texts."""

    id: RequestId
    embeddings: VectorsBody = Field(description="By kind.")
    texts: list[str] = Field(description="Those of the request.", examples=[[_TEXT]])
    meta: MetaBody = Field(description="As in `POST /v2/rerank`.")
    response_type: Literal["embeddings_by_type"] = Field(
        "embeddings_by_type", description="Always `embeddings_by_type`."
    )


class EmbedRequest(LenientBody):
    """Texts to encode, in the format of text-embeddings-inference."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": [_TEXT], "prompt_name": "query"}]}
    )

    inputs: str | list[str] = Field(
        description="A text or at most 2,048 texts.", examples=[[_TEXT]]
    )
    prompt_name: str | None = Field(
        None, description="`query` or `passage`; `passage` if left out."
    )
    normalize: bool | None = Field(None, description="Vectors always have unit length.")
    truncate: bool | None = Field(None, description="Long texts are always cut.")
    dimensions: int | None = Field(None, ge=1, description="As in `POST /v1/embeddings`.")


class TokenizeRequest(LenientBody):
    """Texts to split into tokens."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": [_TEXT]}]})

    inputs: str | list[str] = Field(
        description="A text or at most 2,048 texts, together 262,144 characters.",
        examples=[[_TEXT]],
    )


class TokenBody(BaseModel):
    """One token."""

    id: int = Field(description="In the vocabulary.", examples=[3642])
    text: str = Field(description="The piece.", examples=["how"])
    special: bool = Field(False, description="Whether the tokenizer added it.")
    start: int = Field(description="In code points.", examples=[0])
    stop: int = Field(description="Exclusive.", examples=[3])


class InfoBody(BaseModel):
    """What the server has, in the format of text-embeddings-inference."""

    model_id: str = Field(description="The model.", examples=["interaction-v1"])
    model_sha: str | None = Field(None, description="Always null.")
    model_dtype: str = Field("float32", description="Of its answers.", examples=["float32"])
    served_model_name: str = Field(description="The model.", examples=["interaction-v1"])
    model_type: dict[str, dict[str, Any]] = Field(
        description="`reranker` or `embedding`, depending on the address.",
        examples=[{"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}],
    )
    max_concurrent_requests: int = Field(
        description="At a time; others wait or get 429.", examples=[256]
    )
    max_input_length: int = Field(description="Tokens of a text.", examples=[512])
    max_batch_tokens: int = Field(description="Tokens of a batch.", examples=[8192])
    max_batch_requests: int | None = Field(None, description="Always null.")
    max_client_batch_size: int = Field(description="Texts in one request.", examples=[1000])
    auto_truncate: bool = Field(True, description="Long texts are always cut.", examples=[True])
    tokenization_workers: int = Field(1, description="Always 1.", examples=[1])
    version: str = Field(description="Of the server.", examples=["0.1.0"])
    sha: str | None = Field(None, description="Always null.")
    docker_label: str | None = Field(None, description="Always null.")
