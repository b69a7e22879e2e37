"""The wire of `/documents`. Names that stay."""

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    WithJsonSchema,
    model_validator,
)

from service.api.schemas.common import RequestBody, component, whole
from service.api.schemas.filter_schemas import DESCRIPTION as FILTERS
from service.api.schemas.filter_schemas import EXAMPLES as FILTER_EXAMPLES
from service.api.schemas.filter_schemas import SomeFilters
from service.documents.rows import (
    MAX_ID_CHARS,
    MAX_METADATA_FIELDS,
    MAX_NAME_CHARS,
    MAX_VALUE_CHARS,
    MAX_VALUES,
)

MOST_DOCUMENTS = 1000
"""Of one request or page."""

_ID = f"1 to {MAX_ID_CHARS} characters without control characters; an integer is made a string."
_METADATA = (
    "What filters can ask for: strings, numbers, booleans, null and lists of strings. At most 64 "
    "fields with names of up to 128 characters, strings of up to 10,000, lists of up to 1,000 "
    "values, and 100,000 characters in all."
)
_TEXT = "The document's text; up to 1,000,000 characters (the server's `max_document_chars`)."
_TITLE = (
    "Shown with hits and read with each passage; up to 2,000 characters (the server's "
    "`max_title_chars`)."
)
_INDEXED = "Whether searches see this version; until then they see the one before, if any."
_PROBLEM = (
    "Why searches will never see this version, such as a text without any letter. With `indexed` "
    "true: what the models do not read, such as the end of a long title."
)
_VERSION = "Grows with every change; the `ETag` without its quotes."
TITLE = "Handling several exceptions"
TEXT = "One except clause can name several exception types in a tuple."
_EXAMPLE: dict[str, Any] = {
    "title": TITLE,
    "text": TEXT,
    "metadata": {"topic": "python", "level": 2, "tags": ["errors", "syntax"]},
}

ID_SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_CHARS,
    "pattern": r"^(?![\s\S]*[\u0000-\u001f\u007f-\u009f])[\s\S]*\S",
}
_STRING = {"type": "string", "maxLength": MAX_VALUE_CHARS}
_VALUE = {
    "anyOf": [
        _STRING,
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "array", "items": _STRING, "maxItems": MAX_VALUES},
    ]
}
_NULL: dict[str, Any] = {"type": "null"}
COMPONENTS = {
    "Metadata": {
        "type": "object",
        "description": _METADATA,
        "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_CHARS},
        "additionalProperties": _VALUE,
        "maxProperties": MAX_METADATA_FIELDS,
        "examples": [_EXAMPLE["metadata"]],
    }
}
"""For `components.schemas`."""

DocumentId = Annotated[
    str | int,
    BeforeValidator(whole),
    WithJsonSchema({"anyOf": [ID_SCHEMA, {"type": "integer"}]}),
]
Metadata = Annotated[dict[str, Any], WithJsonSchema(component("Metadata"))]


class DocumentBody(RequestBody):
    """A document whose id is in the path. Only `text` is required."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: DocumentId | None = Field(None, description="If given, the same as in the path.")
    title: str | None = Field(None, description=_TITLE)
    text: str = Field(description=_TEXT)
    metadata: Metadata | None = Field(None, description=_METADATA)


class IdentifiedDocumentBody(DocumentBody):
    """A document with its id."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "py-except", **_EXAMPLE}]})

    id: DocumentId = Field(description=_ID)


class DocumentsRequest(RequestBody):
    """Documents, each of which is taken or refused by itself."""

    @model_validator(mode="before")
    @classmethod
    def _not_bare(cls, value: Any) -> Any:
        if isinstance(value, list) or (isinstance(value, dict) and "text" in value):
            raise ValueError(
                'documents go into {"documents": [...]}; a single one may be sent to '
                "PUT /documents/{id} instead"
            )
        return value

    # Validated one by one in the route, so that a bad one spoils no other.
    documents: Annotated[list[SkipValidation[IdentifiedDocumentBody]], Field(strict=True)] = Field(
        min_length=1, max_length=MOST_DOCUMENTS, description="1 to 1,000 documents."
    )


class WrittenBody(BaseModel):
    """A document that is stored."""

    id: str = Field(description="The document's id.", examples=["py-except"])
    version: int = Field(description=_VERSION, examples=[7])
    indexed: bool = Field(description=_INDEXED, examples=[True])
    problem: str | None = Field(None, description=_PROBLEM)


class RefusedBody(BaseModel):
    """A document that was not taken."""

    index: int = Field(description="Its place in the request, from 0.", examples=[3])
    id: str | None = Field(description="Its id, where it has a fit one.", examples=["py-except"])
    error: str = Field(
        description="What is wrong, with the field and its limit.",
        examples=["metadata.year must be a finite number within 64 bits"],
    )


class ReplacedBody(BaseModel):
    """A document that was not stored, as a later one of the request has its id."""

    index: int = Field(description="Its place in the request, from 0.", examples=[0])
    id: str = Field(description="The id of both.", examples=["py-except"])
    by: int = Field(description="The place of the one that was stored.", examples=[5])


class DocumentsResponse(BaseModel):
    """What became of each document of a request."""

    accepted: int = Field(
        description="Documents stored. With `refused` and `replaced`, all of the request.",
        examples=[998],
    )
    refused: list[RefusedBody] = Field(description="Those that were not taken, and why.")
    replaced: list[ReplacedBody] = Field(
        description="Those whose id a later one in the request has: the last one is stored."
    )
    indexed: bool = Field(
        description="Whether nothing of what was accepted waits any longer for searches to see it.",
        examples=[True],
    )


class StoredDocumentBody(BaseModel):
    """A document as it was last written."""

    id: str = Field(description="The document's id.", examples=["py-except"])
    title: str = Field(description="The document's title, or an empty text.", examples=[TITLE])
    text: str = Field(description="The document's text, to the letter.", examples=[TEXT])
    metadata: Metadata = Field(description="The document's metadata.")
    version: int = Field(description=_VERSION, examples=[7])
    indexed: bool = Field(description=_INDEXED, examples=[True])
    problem: str | None = Field(description=_PROBLEM)


class DocumentsPage(BaseModel):
    """Some documents in the order of their ids."""

    documents: list[StoredDocumentBody] = Field(
        description="At most `limit`; fewer where their texts are long."
    )
    cursor: str | None = Field(
        description="Asks for the next page; null on the last one.", examples=["cHktZXhjZXB0"]
    )


class DeleteDocumentsRequest(RequestBody):
    """Which documents to delete: either `ids` or `filters`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"ids": ["a", "b"]}, {"filters": {"topic": "python"}}],
            "oneOf": [
                {"required": [one], "properties": {one: {"not": _NULL}, other: _NULL}}
                for one, other in (("ids", "filters"), ("filters", "ids"))
            ],
        }
    )

    ids: list[DocumentId] | None = Field(
        None,
        min_length=1,
        max_length=MOST_DOCUMENTS,
        description="1 to 1,000 ids; those that are not there are passed over.",
    )
    filters: SomeFilters | None = Field(
        None, description=f"Never empty. {FILTERS}", examples=FILTER_EXAMPLES
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.ids is None) == (self.filters is None):
            raise ValueError("give either ids or filters")
        return self


class DeletedBody(BaseModel):
    """How much was deleted."""

    deleted: int = Field(description="Documents that were there and are gone.", examples=[2])
