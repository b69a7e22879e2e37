"""The wire of what an answer shows besides its hits: highlights, explanations, facets, fields."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.api.schemas.common import RequestBody
from service.documents.rows import MAX_NAME_CHARS
from service.types import FilterScalar

MOST_HIGHLIGHTS = 5
MOST_FACETS = 5
MOST_FACET_VALUES = 100
MOST_SHOWN_FIELDS = 64
"""Names in `fields.include`, and in `fields.exclude`."""

METADATA = "metadata."

FieldName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
ShownField = Annotated[
    str,
    Field(
        pattern=rf"^(?:title|text|metadata|metadata\..{{1,{MAX_NAME_CHARS}}})$",
        examples=["title"],
    ),
]


class FieldsBody(RequestBody):
    """What of a document the hits show: `title`, `text`, `metadata` or `metadata.NAME`."""

    include: list[ShownField] | None = Field(
        None, max_length=MOST_SHOWN_FIELDS, description="Only these; by default all."
    )
    exclude: list[ShownField] = Field(
        default_factory=list, max_length=MOST_SHOWN_FIELDS, description="Not these."
    )

    def shows(self, name: str) -> bool:
        """Whether a field is shown; `metadata` where some of it may be."""
        if name in self.exclude or (name.startswith(METADATA) and "metadata" in self.exclude):
            return False
        wanted = self.include
        if wanted is None or name in wanted:
            return True
        if name == "metadata":
            return any(one.startswith(METADATA) for one in wanted)
        return name.startswith(METADATA) and "metadata" in wanted


class HighlightBody(BaseModel):
    """A piece of a hit's `text`."""

    start: int = Field(description="Start in the hit's `text`, in code points.", examples=[0])
    end: int = Field(description="Where it ends (exclusive).", examples=[62])
    kind: Literal["part", "word"] = Field(
        description="`part`: a sentence, or some that follow each other, likely to hold the "
        "answer; `word`: a word of the query."
    )


class StageRankBody(BaseModel):
    """A place in one stage."""

    rank: int = Field(description="1-based.", examples=[1])
    score: float = Field(description="The score that ordered this stage.", examples=[0.88172])


class TokenMatchBody(BaseModel):
    """A token of the query and the token of the passage that fits it best."""

    query: str = Field(description="The query's token.", examples=["exceptions"])
    passage: str = Field(description="The passage's token.", examples=["exception"])
    similarity: float = Field(description="How well they fit.", examples=[0.912])
    points: float = Field(description="What it adds to `rerank_score`.", examples=[1.74])


class JudgementBody(BaseModel):
    """How the hit got its `confidence`."""

    calibration: str | None = Field(
        description="The calibration's name; null if the hit is uncalibrated.",
        examples=["e5-small+interaction-v1"],
    )
    curve: Literal["retrieval", "fused", "rerank"] | None = Field(
        description="The calibration's curve, by what ordered the hits.", examples=["rerank"]
    )
    score: float = Field(description="Where the curve was read.", examples=[5.21])
    probability: float | None = Field(description="What the curve says.", examples=[0.93])
    high: float | None = Field(
        description="The lowest probability of a `high` hit; null if the word is never given.",
        examples=[0.58],
    )
    medium: float | None = Field(
        description="The lowest probability of a `medium` hit; null if the word is never given.",
        examples=[0.37],
    )
    reason: str = Field(
        description="Why the hit has its word, in words.",
        examples=["the calibrated probability 0.93 reaches 0.58, where high begins"],
    )


class ExplanationBody(BaseModel):
    """Why a hit is where it is. The first three stages rank passages, the others documents."""

    dense: StageRankBody = Field(description="By cosine, among the candidates of this search.")
    sparse: StageRankBody | None = Field(
        description="By BM25, among the candidates found by words; null if it was not."
    )
    retrieval: StageRankBody = Field(description="In stage one's order, fused in `hybrid`.")
    rerank: StageRankBody | None = Field(description="By `rerank_score`; null if not scored.")
    final: StageRankBody = Field(
        description="In the order after the rerank; `boost`, `diversity`, `group_by` and the least "
        "confidence may give the hit another `rank`."
    )
    similarity_points: float | None = Field(
        description="What the cosine adds to `rerank_score`; null if this reranker cannot tell.",
        examples=[2.1],
    )
    matches: list[TokenMatchBody] = Field(
        description="The 10 query tokens that add most to `rerank_score`. The points of all query "
        "tokens and `similarity_points` add up to it. Empty if this reranker cannot tell."
    )
    judgement: JudgementBody = Field(description="How it got its `confidence`.")


class FacetValueBody(BaseModel):
    """A value of a metadata field."""

    value: FilterScalar = Field(description="The value.", examples=["python"])
    count: int = Field(description="Documents that have it.", examples=[120])


class FacetBody(BaseModel):
    """The most frequent values of a metadata field; ties in the order of the values."""

    values: list[FacetValueBody] = Field(description="At most `facet_values`, frequent ones first.")
    other: int = Field(description="The same count for all other values together.", examples=[14])
    missing: int = Field(description="Documents without any value.", examples=[3])
