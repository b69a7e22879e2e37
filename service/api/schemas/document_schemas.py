"""The wire of `/documents`."""

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
from service.documents.outline import (
    MAX_HEADING_CHARS,
    MOST_HEADINGS,
    MOST_MARKS,
    MOST_PAGES,
)
from service.documents.rows import (
    MAX_ID_CHARS,
    MAX_METADATA_FIELDS,
    MAX_NAME_CHARS,
    MAX_VALUE_CHARS,
    MAX_VALUES,
)

MOST_DOCUMENTS = 1000
"""In one request or page."""

_METADATA = (
    "What filters can ask for: strings, numbers, booleans, null and lists of strings. At most 64 "
    "fields with names of up to 128 characters, strings of up to 10,000, lists of up to 1,000 "
    "values, and 100,000 characters in all."
)
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
_METADATA_SCHEMA = {
    "type": "object",
    "description": _METADATA,
    "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_CHARS},
    "additionalProperties": _VALUE,
    "maxProperties": MAX_METADATA_FIELDS,
    "examples": [_EXAMPLE["metadata"]],
}

DocumentId = Annotated[
    str | int, BeforeValidator(whole), WithJsonSchema({"anyOf": [ID_SCHEMA, {"type": "integer"}]})
]
Metadata = Annotated[dict[str, Any], WithJsonSchema(component("Metadata"))]
Id = Annotated[str, Field(description="The document's id.", examples=["py-except"])]
Title = Annotated[str, Field(description="Its title, or an empty string.", examples=[TITLE])]
StoredMetadata = Annotated[Metadata, Field(description="The document's metadata.")]
_Version = Annotated[int, Field(description="The number in its `ETag`; only grows.", examples=[7])]
_Indexed = Annotated[bool, Field(description="Whether searches see this version.", examples=[True])]
_Problem = Annotated[
    str | None,
    Field(
        description="Why searches will never see this version, such as a text without any letter. "
        "With `indexed` true: what the models do not read, such as the end of a long title."
    ),
]
_Place = Annotated[int, Field(description="Its place in the request, from 0.", examples=[3])]


class MarkBody(RequestBody):
    """Where a part of a text begins."""

    start: int = Field(ge=0, description="In code points of the text.", examples=[0])
    page: int | None = Field(None, ge=1, le=MOST_PAGES, description="From 1.", examples=[3])
    headings: list[Annotated[str, Field(min_length=1, max_length=MAX_HEADING_CHARS)]] = Field(
        default_factory=list,
        max_length=MOST_HEADINGS,
        description="The headings over it, outermost first.",
        examples=[["Errors", "Several exceptions"]],
    )


class DocumentBody(RequestBody):
    """A document whose id is in the path. Only `text` is required."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: DocumentId | None = Field(None, description="If given, the same as in the path.")
    title: str | None = Field(
        None,
        description="Shown with hits and read with each passage; up to 2,000 characters (the "
        "server's `max_title_chars`).",
    )
    text: str = Field(
        description="The document's text; up to 1,000,000 characters (the server's "
        "`max_document_chars`)."
    )
    metadata: Metadata | None = Field(None, description=_METADATA)
    outline: list[MarkBody] | None = Field(
        None,
        max_length=MOST_MARKS,
        description="Where pages and sections of the text begin, in their order; at most 10,000, "
        "with headings of 500,000 characters in all. Hits tell page and headings of their passage, "
        "and the models read the headings before it.",
    )


class IdentifiedDocumentBody(DocumentBody):
    """A document with its id."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "py-except", **_EXAMPLE}]})

    id: DocumentId = Field(
        description=f"1 to {MAX_ID_CHARS} characters without control characters; an integer "
        "becomes a string."
    )


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Of a body in `COMPONENTS`, where the models that it names are too."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


RawDocument = Annotated[dict[str, Any], SkipValidation, WithJsonSchema(component("DocumentBody"))]
RawIdentifiedDocument = Annotated[
    dict[str, Any], SkipValidation, WithJsonSchema(component("IdentifiedDocumentBody"))
]
"""Not validated by pydantic, so that all messages come from `service.documents`."""

COMPONENTS = {
    "Metadata": _METADATA_SCHEMA,
    "MarkBody": MarkBody.model_json_schema(),
    "DocumentBody": _schema(DocumentBody),
    "IdentifiedDocumentBody": _schema(IdentifiedDocumentBody),
}
"""For `components.schemas`."""


class DocumentsRequest(RequestBody):
    """Documents, each accepted or refused on its own."""

    @model_validator(mode="before")
    @classmethod
    def _not_bare(cls, value: Any) -> Any:
        if isinstance(value, list) or (isinstance(value, dict) and "text" in value):
            raise ValueError(
                'documents go into {"documents": [...]}; a single one may be sent to '
                "PUT /documents/{id} instead"
            )
        return value

    # The route validates them one by one, so that a bad one does not affect the others.
    documents: list[RawIdentifiedDocument] = Field(
        min_length=1, max_length=MOST_DOCUMENTS, description="1 to 1,000 documents."
    )


class WrittenBody(BaseModel):
    """A document that is stored."""

    id: Id
    version: _Version
    indexed: _Indexed
    problem: _Problem = None


class PatchRequest(RequestBody):
    """What changes in a document."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"metadata": {"level": 3, "tags": None}}]}
    )

    metadata: Metadata = Field(
        description="Fields to set; null removes one. The others stay. The limits are those of "
        "metadata, for the outcome."
    )


class RefusedBody(BaseModel):
    """A document that was refused."""

    index: _Place
    id: str | None = Field(description="Its id, if that is valid.", examples=["py-except"])
    error: str = Field(
        description="What is wrong, with the field and its limit.",
        examples=["metadata.year must be a finite number within 64 bits"],
    )


class ReplacedBody(BaseModel):
    """A document that was not stored because a later one of the request has its id."""

    index: _Place
    id: str = Field(description="The id of both.", examples=["py-except"])
    by: int = Field(description="The place of the one that was stored.", examples=[5])


class DocumentsResponse(BaseModel):
    """The outcome for each document of a request."""

    accepted: int = Field(
        description="Documents stored. Together with `refused` and `replaced`: all of the request.",
        examples=[998],
    )
    refused: list[RefusedBody] = Field(description="Those that were refused, and why.")
    replaced: list[ReplacedBody] = Field(
        description="Those that share an id with a later one of the request; the last one wins."
    )
    indexed: bool = Field(description="Whether searches see all of `accepted`.", examples=[True])


class StoredDocumentBody(BaseModel):
    """A document as it was last written."""

    id: Id
    title: Title
    text: str = Field(description="The document's text, unchanged.", examples=[TEXT])
    metadata: StoredMetadata
    outline: list[MarkBody] = Field(
        default_factory=list, description="Where its pages and sections begin."
    )
    version: _Version
    indexed: _Indexed
    problem: _Problem


class DocumentsPage(BaseModel):
    """Some documents in the order of their ids."""

    documents: list[StoredDocumentBody] = Field(description="At most `limit`; fewer if long.")
    cursor: str | None = Field(description="For the next page, if any.", examples=["cHktZXhjZXB0"])


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
        description="1 to 1,000 ids; unknown ones are ignored.",
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
    """How many documents were deleted."""

    deleted: int = Field(description="Documents that existed and are deleted.", examples=[2])
