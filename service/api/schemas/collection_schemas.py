"""The wire of collections, aliases and snapshots."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from service.api.schemas.common import RequestBody
from service.settings import PER_COLLECTION, Settings
from service.store.catalog import NAME_PATTERN

NAME_SCHEMA: dict[str, Any] = {"pattern": f"^{NAME_PATTERN}$"}
_SETTINGS = "The settings that differ from the server's."


def _optional(name: str) -> Any:
    """A setting's type, limits and description; the default is the server's."""
    field = Settings.model_fields[name]
    longest = 1000 if field.annotation is str else None
    optional: Any = Field(None, max_length=longest, description=field.description)
    optional.metadata += field.metadata
    return field.annotation | None, optional  # type: ignore[operator]


OwnSettings = create_model(
    "OwnSettings",
    __base__=RequestBody,
    __doc__="The settings in which a collection differs from the server. A model is the server's "
    "own, one that its `allowed_models` lists, or one of the registry that is already on the "
    "server's disk.",
    **{name: _optional(name) for name in PER_COLLECTION},
)


class CreateCollectionRequest(RequestBody):
    """A new collection."""

    name: str = Field(
        max_length=1000,
        json_schema_extra=NAME_SCHEMA,
        description="1 to 64 of a-z, 0-9, `_` and `-`, the first one a letter or digit.",
        examples=["articles-2"],
    )
    settings: OwnSettings = Field(
        default_factory=OwnSettings, description=_SETTINGS, examples=[{"encoder": "sse-512"}]
    )


class AliasRequest(RequestBody):
    """Where an alias leads."""

    collection: str = Field(max_length=1000, description="Not an alias.", examples=["articles-2"])


class CopyRequest(RequestBody):
    """The source of a copy."""

    from_: str = Field(
        alias="from", max_length=1000, description="A collection or an alias.", examples=["default"]
    )
    mirror: bool = Field(False, description="Also delete documents that the source does not have.")


class CopyBody(BaseModel):
    """The progress of a copy."""

    source: str = Field(description="The collection that is copied.", examples=["main"])
    mirror: bool = Field(description="Whether it deletes documents that the source does not have.")
    state: Literal["running", "done", "failed"] = Field(
        description="`done`: all are staged; searches see them once `staged` is 0."
    )
    copied: int = Field(description="Documents of the source that are processed.", examples=[640])
    removed: int = Field(description="Documents deleted.", examples=[0])
    total: int = Field(description="Documents in the source.", examples=[10_000])
    reason: str | None = Field(None, description="Why it failed.")


class EncoderBody(BaseModel):
    """Everything that decides a text's vector."""

    model: str = Field(description="The bi-encoder.", examples=["e5-small"])
    weights_sha256: str = Field(description="Hash of its files.", examples=["9f2c" * 16])
    dimension: int = Field(description="Dimensions of a vector.", examples=[384])
    query_prefix: str = Field(description="Added before a query.", examples=["query: "])
    passage_prefix: str = Field(description="Added before a passage.", examples=["passage: "])
    max_length: int = Field(description="Tokens of a passage, prefix included.", examples=[256])
    normalizer_version: int = Field(description="Version of the text cleaning.", examples=[1])


class CollectionBody(BaseModel):
    """A collection. The figures are null if it could not be opened; `problems` says why."""

    name: str = Field(description="Its name.", examples=["articles-2"])
    aliases: list[str] = Field(description="The aliases that lead to it.", examples=[["default"]])
    created: datetime = Field(description="When it was created.", examples=["2026-03-01T12:00:00Z"])
    settings: dict[str, Any] = Field(description=_SETTINGS, examples=[{"search_mode": "hybrid"}])
    documents: int | None = Field(description="Documents that searches see.", examples=[1434])
    passages: int | None = Field(description="Their passages.", examples=[5120])
    staged: int | None = Field(description="Documents that wait for encoding.", examples=[0])
    failed: int | None = Field(description="Documents that could not be encoded.", examples=[0])
    revision: int | None = Field(description="Grows with every write.", examples=[1434])
    generation: str | None = Field(
        description="The index's name on disk.", examples=["g34-3dda5a42"]
    )
    encoder: EncoderBody | None = Field(description="Encodes its passages and queries.")
    reranker: str | None = Field(description="The reranker, or `none`.", examples=["none"])
    problems: list[str] = Field(description="Notes for the operator.")
    copy_: CopyBody | None = Field(alias="copy", description="The last copy into it, if any.")


class CollectionsBody(BaseModel):
    """All collections."""

    collections: list[CollectionBody] = Field(description="In the order of their names.")


class AliasesBody(BaseModel):
    """All aliases."""

    aliases: dict[str, str] = Field(description="By alias.", examples=[{"default": "main"}])
