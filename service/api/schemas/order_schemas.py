"""The wire of what decides which hits a search shows, and in which order."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.api.schemas.common import RequestBody
from service.api.schemas.detail_schemas import FieldName
from service.api.schemas.document_schemas import Id
from service.search.boosts import Boost
from service.search.paging import AGE_S, CURSOR_CHARS
from service.store.catalog import NAME_PATTERN
from service.store.filter_grammar import MAX_VALUE_CHARS, MAX_VALUES
from service.store.metadata_values import microseconds

MOST_COLLECTIONS = 10
MOST_BOOSTS = 5
MOST_SCALE = 1e12

_Text = Annotated[str, Field(max_length=MAX_VALUE_CHARS)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


_NULL: Any = {"type": "null"}


class BoostBody(RequestBody):
    """Moves hits by one metadata field: with `values` or with `scale`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["values"],
                    "properties": {"values": {"type": "array"}, "scale": _NULL, "origin": _NULL},
                },
                {
                    "required": ["scale"],
                    "properties": {"scale": {"type": "number"}, "values": _NULL},
                },
            ],
            "examples": [
                {"field": "kind", "values": ["guide"], "weight": 0.5},
                {"field": "published", "scale": 90, "weight": 0.5},
            ],
        }
    )

    field: FieldName = Field(description="The metadata field.", examples=["published"])
    weight: float = Field(
        ge=-1.0,
        le=1.0,
        description="How far documents move that match fully; below 0: down.",
        examples=[0.5],
    )
    values: list[_Text | int | float | bool] | None = Field(
        None,
        min_length=1,
        max_length=MAX_VALUES,
        description="Documents that have one of these values match; equal as in `filters`.",
        examples=[None],
    )
    scale: float | None = Field(
        None,
        gt=0.0,
        le=MOST_SCALE,
        description="Documents near `origin` match; half as well at this distance, in days for "
        "dates.",
        examples=[90],
    )
    origin: _Number | _Text | None = Field(
        None, description="A number or an ISO 8601 date; default: now, for dates.", examples=[None]
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "BoostBody":
        if (self.values is None) == (self.scale is None):
            raise ValueError("a boost has either values or scale")
        if self.values is not None and self.origin is not None:
            raise ValueError("origin goes with scale")
        if isinstance(self.origin, str) and microseconds(self.origin) is None:
            raise ValueError("origin must be a number or an ISO 8601 date")
        return self

    def boost(self) -> Boost:
        """What the search reads."""
        return Boost(self.field, self.weight, tuple(self.values or ()), self.scale, self.origin)


Offset = Annotated[
    int | None,
    Field(
        ge=0,
        le=1000,
        description="Hits, or groups, to leave out at the beginning. With `offset`, 0 too, the "
        "answer has `next_cursor`.",
    ),
]
Cursor = Annotated[
    str | None,
    Field(
        json_schema_extra={"pattern": f"^[A-Za-z0-9_-]{{{CURSOR_CHARS}}}$"},
        pattern=f"^[A-Za-z0-9_-]{{{CURSOR_CHARS}}}$",
        description=f"The `next_cursor` of the page before, for {AGE_S} seconds: the next page of "
        "the same hits, whatever was written meanwhile. Send the other fields again, without "
        "`offset`. 410 if it has expired.",
    ),
]
MinProbability = Annotated[
    float | None,
    Field(
        ge=0.0,
        le=1.0,
        description="Leave out hits below this probability. Needs `rerank: true`.",
    ),
]
Boosts = Annotated[
    list[BoostBody],
    Field(
        max_length=MOST_BOOSTS,
        description="What moves hits in the order, by half a standard deviation of the scores at "
        "most. Probabilities and scores stay as they are.",
        examples=[[{"field": "published", "scale": 90, "weight": 0.5}]],
    ),
]
Diversity = Annotated[
    bool,
    Field(
        description="Fold hits whose passages say nearly the same into the best of them, which "
        "names them in `also`."
    ),
]
GroupBy = Annotated[
    FieldName | None,
    Field(
        description="Show one hit for each value of this metadata field, in the order of the best "
        "hits; its `group` has further ones. `top_k` and `offset` then count groups.",
        examples=[None],
    ),
]
GroupSize = Annotated[
    int, Field(ge=1, le=10, description="With `group_by`: most hits of a group that are shown.")
]
CollectionNames = Annotated[
    list[Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]] | None,
    Field(
        min_length=1,
        max_length=MOST_COLLECTIONS,
        json_schema_extra={"uniqueItems": True},
        description="Collections or aliases to search as if they were one; they must have the same "
        "encoder, reranker and calibration. Only for `POST /search`.",
        examples=[None],
    ),
]


class FoldedBody(BaseModel):
    """A document that was folded into a hit."""

    id: Id
    collection: str | None = Field(
        None, description="Its collection, where several are searched.", examples=[None]
    )


class OrderedHit(BaseModel):
    """Fields of a hit that only some requests ask for; else they are left out."""

    collection: str | None = Field(
        None,
        description="The collection, as `collections` names it; only with `collections`.",
        examples=[None],
    )
    boost: float | None = Field(
        None,
        description="How strongly it was boosted, −1 to 1: 1 moves it by half a standard "
        "deviation of the scores. Only with `boost`.",
        examples=[None],
    )
    also: list[FoldedBody] | None = Field(
        None,
        description="The best 20 documents folded into this hit; only with `diversity`.",
        examples=[None],
    )
    folded: int | None = Field(
        None, description="How many were folded into it; only with `diversity`.", examples=[None]
    )
