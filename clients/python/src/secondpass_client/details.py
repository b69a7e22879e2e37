"""What the service shows besides hits, as records: highlights, explanations, facets, fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Explanation",
    "Facet",
    "FacetValue",
    "Highlight",
    "Judgement",
    "MetadataField",
    "StageRank",
    "TokenMatch",
]


@dataclass(frozen=True, slots=True)
class Highlight:
    """A piece of a hit, `text[start:end]`: a part likely to hold the answer, or a query's word."""

    start: int
    end: int
    kind: Literal["part", "word"]


@dataclass(frozen=True, slots=True)
class StageRank:
    """The place of a hit in one stage, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """The token of a passage that fits a query's token best; `points` go to the rerank score."""

    query: str
    passage: str
    similarity: float
    points: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a hit got its confidence; `high` and `medium` are the least probabilities of the words.

    They are None where the word is never given, `calibration` and `curve` where there is none.
    """

    calibration: str | None
    curve: Literal["retrieval", "fused", "rerank"] | None
    score: float
    probability: float | None
    high: float | None
    medium: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit is where it is. `matches` has the tokens that add most to the rerank score.

    `dense`, `sparse` and `retrieval` rank passages, `rerank` and `final` documents.
    """

    dense: StageRank
    sparse: StageRank | None
    retrieval: StageRank
    rerank: StageRank | None
    final: StageRank
    similarity_points: float | None
    matches: list[TokenMatch]
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a metadata field, and how many documents have it."""

    value: str | int | float | bool
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """A field's most frequent values; `other` counts all others, `missing` has none."""

    values: list[FacetValue]
    other: int
    missing: int


@dataclass(frozen=True, slots=True)
class MetadataField:
    """A metadata field: how many documents have a `text`, `number`, `boolean` or `date` in it."""

    name: str
    types: Mapping[str, int]
