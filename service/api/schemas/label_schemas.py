"""The wire of labels and feedback."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from service.api.schemas.common import RequestBody
from service.api.schemas.document_schemas import DocumentId
from service.store.label_store import Judged, LabelCounts, LabelledQuery

MOST_HITS = 100
"""Hits of one request."""

MOST_RANK = 1000
MOST_QUERY_CHARS = 100_000

Judgement = Literal["relevant", "partly", "not_relevant"]

GRADES: dict[Judgement, int] = {"relevant": 2, "partly": 1, "not_relevant": 0}
_JUDGEMENTS = {grade: judgement for judgement, grade in GRADES.items()}

QUERY_ID = "q12"
QUERY_ID_PATTERN = "^q[1-9][0-9]{0,17}$"

_QUERY = (
    "The query, as it was searched. The server keeps its text only here, because it is labelled; "
    "at most `max_query_chars` characters."
)
_JUDGEMENT = "`relevant`, `partly` or `not_relevant`: the grades 2, 1 and 0."
_HIT_ID = "The document's id: that of a hit."

HitId = Annotated[DocumentId, Field(description=_HIT_ID, examples=["py-except"])]


class JudgedHitRequest(RequestBody):
    """A hit and its judgement."""

    id: HitId
    judgement: Judgement | None = Field(description=_JUDGEMENT + " null removes the label.")


class LabelsRequest(RequestBody):
    """Judgements of hits of one query."""

    query: str = Field(
        min_length=1,
        max_length=MOST_QUERY_CHARS,
        description=_QUERY,
        examples=["catch several exceptions at once"],
    )
    hits: list[JudgedHitRequest] = Field(
        min_length=1,
        max_length=MOST_HITS,
        description="1 to 100 hits. If two have one id, the last one wins.",
        examples=[[{"id": "py-except", "judgement": "relevant"}]],
    )


class FeedbackHitRequest(RequestBody):
    """A hit that was clicked, or judged by a user of the application."""

    id: HitId
    clicked: bool = Field(False, description="Whether the user opened it.", examples=[True])
    judgement: Judgement | None = Field(None, description=_JUDGEMENT)
    rank: int | None = Field(
        None, ge=1, le=MOST_RANK, description="The place at which it was shown.", examples=[3]
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.clicked and self.judgement is None:
            raise ValueError("say `clicked: true`, a judgement, or both")
        return self


class FeedbackRequest(RequestBody):
    """What a user did with the hits of one search."""

    query: str = Field(
        min_length=1,
        max_length=MOST_QUERY_CHARS,
        description=_QUERY,
        examples=["catch several exceptions at once"],
    )
    request_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="The search's `request_id`. A click that comes twice with it counts once.",
    )
    hits: list[FeedbackHitRequest] = Field(
        min_length=1,
        max_length=MOST_HITS,
        description="1 to 100 hits.",
        examples=[[{"id": "py-except", "clicked": True, "rank": 3}]],
    )


class JudgedHitBody(BaseModel):
    """What is known of a document for a query."""

    id: str = Field(description="The document's id.", examples=["py-except"])
    judgement: Judgement | None = Field(
        description="The last judgement; null for clicks alone.", examples=["relevant"]
    )
    clicks: int = Field(description="How many times it was clicked.", examples=[0])
    rank: int | None = Field(description="Where it was last shown, if known.", examples=[3])
    at: str = Field(
        description="When it last changed: UTC, ISO 8601.", examples=["2026-03-01T12:00:00+00:00"]
    )

    @classmethod
    def of(cls, judged: Judged) -> Self:
        """The record for the wire."""
        word = None if judged.grade is None else _JUDGEMENTS[judged.grade]
        return cls(
            id=judged.document,
            judgement=word,
            clicks=judged.clicks,
            rank=judged.rank,
            at=judged.at,
        )


class LabelledQueryBody(BaseModel):
    """A query with its judged hits."""

    id: str = Field(description="Names the query here and in exports.", examples=[QUERY_ID])
    query: str = Field(description="Its text.", examples=["catch several exceptions at once"])
    hits: list[JudgedHitBody] = Field(description="In the order of their ids.")

    @classmethod
    def of(cls, query: LabelledQuery) -> Self:
        """The record for the wire."""
        return cls(id=query.id, query=query.text, hits=list(map(JudgedHitBody.of, query.judged)))


class LabelCountsBody(BaseModel):
    """How much there is in all."""

    queries: int = Field(description="Queries.", examples=[14])
    judged: int = Field(description="Judged or clicked hits.", examples=[120])
    relevant: int = Field(
        description="Of these, relevant or partly; or clicked, where there is no judgement.",
        examples=[31],
    )
    not_relevant: int = Field(description="Of these, not relevant.", examples=[89])

    @classmethod
    def of(cls, counts: LabelCounts) -> Self:
        """The record for the wire."""
        return cls(
            queries=counts.queries,
            judged=counts.judged,
            relevant=counts.relevant,
            not_relevant=counts.not_relevant,
        )


class LabelsBody(BaseModel):
    """Labelled queries, oldest first."""

    queries: list[LabelledQueryBody] = Field(description="At most `limit`.")
    counts: LabelCountsBody = Field(description="Of the whole set.")
    cursor: str | None = Field(description="For the next page; null on the last.", examples=[None])


class StoredLabelsBody(BaseModel):
    """What a request changed."""

    stored: int = Field(description="Hits whose label is on the disk.", examples=[1])
    removed: int = Field(description="Hits whose label was removed.", examples=[0])


class DeletedLabelsBody(BaseModel):
    """How much is gone."""

    deleted: int = Field(description="Judged hits.", examples=[120])
