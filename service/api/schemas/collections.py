"""The wire of collections, aliases and snapshots. Names that stay."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.api.schemas.common import RequestBody
from service.index.catalog import NAME_PATTERN

NAME_SCHEMA: dict[str, Any] = {"pattern": f"^{NAME_PATTERN}$"}
_NAME = "1 to 64 of a-z, 0-9, `_` and `-`, the first one a letter or digit."


class OwnSettings(RequestBody):
    """What a collection has other than the server; what is left out is the server's."""

    encoder: str | None = Field(
        None,
        max_length=1000,
        description="Bi-encoder: the server's own, one that its `allowed_models` lists, or a model "
        "of the registry that is on the server's disk already.",
        examples=["sse-512"],
    )
    embedding_dimensions: int | None = Field(
        None, ge=1, description="A Matryoshka size of the encoder."
    )
    reranker: str | None = Field(
        None, max_length=1000, description="Reranker, named as an encoder; or `none`."
    )
    passage_tokens: int | None = Field(None, ge=16, le=8192, description="Longest passage.")
    passage_overlap: int | None = Field(
        None, ge=0, le=4096, description="Tokens that neighbouring passages share, at most."
    )
    passages_per_document: int | None = Field(
        None, ge=1, le=1000, description="Candidates that one document may take up."
    )
    rerank_depth: int | None = Field(
        None, ge=0, le=1000, description="Candidates that are reranked, at most."
    )
    search_mode: Literal["dense", "sparse", "hybrid"] | None = Field(
        None, description="Mode of searches that name none."
    )
    hybrid_fusion: Literal["rrf", "weighted"] | None = Field(
        None, description="How the hybrid mode fuses."
    )
    hybrid_weight: float | None = Field(
        None, ge=0.0, le=1.0, description="Share of the words in the hybrid mode."
    )
    hnsw_threshold: int | None = Field(
        None, ge=1, description="Passages above which the index is HNSW instead of exact."
    )


class CreateCollectionRequest(RequestBody):
    """A new collection."""

    name: str = Field(
        max_length=1000,
        json_schema_extra=NAME_SCHEMA,
        description=_NAME,
        examples=["articles-2"],
    )
    settings: OwnSettings = Field(
        default_factory=OwnSettings, description="What it has other than the server."
    )


class AliasRequest(RequestBody):
    """Where an alias leads."""

    collection: str = Field(
        max_length=1000, description="A collection; no alias.", examples=["articles-2"]
    )


class CopyRequest(RequestBody):
    """Where documents come from."""

    from_: str = Field(
        alias="from", max_length=1000, description="A collection or an alias.", examples=["default"]
    )
    mirror: bool = Field(
        False, description="Also delete the documents that the source does not have."
    )


class CopyBody(BaseModel):
    """How far a copy is."""

    source: str = Field(description="The collection that the documents come from.")
    mirror: bool = Field(description="Are documents that the source does not have deleted?")
    state: Literal["running", "done", "failed"] = Field(
        description="`done`: all are staged; they are searched once `staged` is 0."
    )
    copied: int = Field(description="Documents of the source dealt with.", examples=[640])
    removed: int = Field(description="Documents deleted.", examples=[0])
    total: int = Field(description="Documents in the source.", examples=[10_000])
    reason: str | None = Field(None, description="Why it failed.")


class EncoderBody(BaseModel):
    """All that decides what a text's vector is."""

    model: str = Field(description="The bi-encoder.", examples=["e5-small"])
    weights_sha256: str = Field(description="Hash of all files that decide what it computes.")
    dimension: int = Field(description="Dimensions of a vector.", examples=[384])
    query_prefix: str = Field(description="What stands before a query.", examples=["query: "])
    passage_prefix: str = Field(description="What stands before a passage.")
    max_length: int = Field(description="Tokens of a passage, prefix counted.", examples=[256])
    normalizer_version: int = Field(description="Version of the text cleaning.")


class CollectionBody(BaseModel):
    """A collection. The figures are null where it could not be opened; `problems` says why."""

    name: str = Field(description="Its name.", examples=["main"])
    aliases: list[str] = Field(description="The aliases that lead to it.", examples=[["default"]])
    created: datetime = Field(description="When it was made.")
    settings: dict[str, Any] = Field(description="What it has other than the server.")
    documents: int | None = Field(description="Documents that searches see.", examples=[1434])
    passages: int | None = Field(description="Their passages.", examples=[5120])
    staged: int | None = Field(description="Documents that wait to be encoded.", examples=[0])
    failed: int | None = Field(description="Documents that could not be encoded.", examples=[0])
    revision: int | None = Field(description="Grows with every write.", examples=[1434])
    generation: str | None = Field(description="The name of the index on the disk.")
    encoder: EncoderBody | None = Field(description="What encodes its passages and queries.")
    reranker: str | None = Field(description="What reranks, or `none`.", examples=["none"])
    problems: list[str] = Field(description="What an operator should know.")
    copy_: CopyBody | None = Field(
        alias="copy", description="The last copy into it; null where there was none."
    )


class CollectionsBody(BaseModel):
    """All collections."""

    collections: list[CollectionBody] = Field(description="In the order of their names.")


class AliasesBody(BaseModel):
    """All aliases."""

    aliases: dict[str, str] = Field(
        description="Alias to collection.", examples=[{"default": "main"}]
    )
