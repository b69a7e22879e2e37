"""What the tools for agents take and answer."""

from typing import Annotated

from pydantic import BaseModel, Field, WithJsonSchema

from service.api.schemas.common import RequestBody
from service.api.schemas.document_schemas import StoredMetadata
from service.api.schemas.filter_schemas import FiltersField
from service.types import Word

MOST_TOKENS = 32_768
LEAST_TOKENS = 128
"""Room for the verdict and a short excerpt."""

MOST_HITS = 20

_Filters = Annotated[FiltersField, WithJsonSchema({"type": "object"})]
"""The grammar is recursive, and not all clients resolve references."""

Tokens = Annotated[int, Field(ge=LEAST_TOKENS, le=MOST_TOKENS)]


class SearchArguments(RequestBody):
    """The arguments of the tool `search`."""

    query: str = Field(description="The question or keywords, in any language.")
    top_k: int = Field(5, ge=1, le=MOST_HITS, description="Most documents in the answer.")
    max_tokens: Tokens = Field(
        1000, description="The most tokens of the answer. More tokens give longer excerpts."
    )
    filters: _Filters = Field(
        default_factory=dict,
        description="Metadata that a document must have: {field: value}, {field: [values]} or "
        '{field: {"gte": value}}; also "lte", "gt", "lt", "exists".',
    )


class FetchArguments(RequestBody):
    """The arguments of the tool `fetch`."""

    id: str = Field(description="The id of a document, as `search` gives it.")
    start: int = Field(
        0, ge=0, description="Where to begin in the text: 0, or `next_start` of the answer before."
    )
    max_tokens: Tokens = Field(4000, description="The most tokens of the answer.")


class ExcerptBody(BaseModel):
    """A document, shown by the part of it that fits the query best."""

    id: str = Field(description="For `fetch`.")
    title: str
    confidence: Word = Field(description="How sure it is that the document answers the query.")
    text: str = Field(description="Part of the document, unchanged.")
    start: int = Field(description="Where the part starts in the document, in code points.")
    end: int = Field(description="Where it ends (exclusive).")


class SearchAnswer(BaseModel):
    """The answer of `search`."""

    verdict: str = Field(description="Whether anything here answers the query.")
    answerable: bool | None = Field(
        description="False if nothing here answers the query; null if that is not known."
    )
    hits: list[ExcerptBody] = Field(description="Best first.")
    left_out: int = Field(description="Hits that `max_tokens` had no room for.")


class FetchAnswer(BaseModel):
    """The answer of `fetch`."""

    id: str
    title: str
    text: str = Field(description="The document from `start`, unchanged.")
    start: int
    next_start: int | None = Field(description="Where the rest begins; null at the end.")
    metadata: StoredMetadata | None = Field(description="Null if it is too long for the answer.")
