"""The wire of counts of documents and of their metadata fields."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.common import RequestBody
from service.api.schemas.filter_schemas import DESCRIPTION as FILTERS
from service.api.schemas.filter_schemas import EXAMPLES as FILTER_EXAMPLES
from service.api.schemas.filter_schemas import FiltersField

MOST_FIELDS_LISTED = 1000


class CountRequest(RequestBody):
    """Which documents to count."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"filters": {"topic": "python"}}]})

    filters: FiltersField = Field(
        default_factory=dict, description=FILTERS, examples=FILTER_EXAMPLES
    )


class CountBody(BaseModel):
    """How many documents there are."""

    documents: int = Field(
        description="Documents that searches see and that satisfy `filters`.", examples=[120]
    )


class MetadataFieldBody(BaseModel):
    """A metadata field."""

    name: str = Field(description="Its name.", examples=["topic"])
    types: dict[Literal["text", "number", "boolean", "date"], int] = Field(
        description="How many documents have a value of each type. A date is also a text.",
        examples=[{"text": 120}],
    )


class MetadataFieldsBody(BaseModel):
    """Metadata fields in the order of their names."""

    fields: list[MetadataFieldBody] = Field(description="At most `limit`.")
    more: bool = Field(description="Whether there are more.", examples=[False])
