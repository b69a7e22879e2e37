"""What the service answers about labels and calibrations, as records."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Adjustment",
    "Calibration",
    "JudgedHit",
    "LabelCounts",
    "LabelPage",
    "LabelledQuery",
]


@dataclass(frozen=True, slots=True)
class JudgedHit:
    """What is known of a document for a query; `judgement` is None where there are clicks alone.

    `rank` is where it was last shown, `at` when it last changed.
    """

    id: str
    judgement: Literal["relevant", "partly", "not_relevant"] | None
    clicks: int = 0
    rank: int | None = None
    at: str = ""


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and its judged hits; `id` names it in exports and when it is deleted."""

    id: str
    query: str
    hits: list[JudgedHit]


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many labels there are; `relevant` and `not_relevant` are judged hits."""

    queries: int
    judged: int
    relevant: int
    not_relevant: int


@dataclass(frozen=True, slots=True)
class LabelPage:
    """Some labelled queries, and where the next ones begin."""

    queries: list[LabelledQuery]
    counts: LabelCounts
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Adjustment:
    """How labels moved a curve: its log odds became `shift + scale * log odds`.

    `low` and `high` end 95 % intervals.
    """

    curve: Literal["retrieval", "fused", "rerank"]
    shift: float
    shift_low: float
    shift_high: float
    scale: float
    scale_low: float
    scale_high: float
    hits: int
    queries: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration that a collection uses; `name` is None if none fits the models.

    `high` and `medium` are the least probabilities of these words, None where one is not given.
    `previous` is what `restore_calibration` leads to; None for the server's own.
    """

    name: str | None
    origin: Literal["labels", "settings", "shipped"]
    date: str | None
    high: float | None
    medium: float | None
    adjusted_from: str | None = None
    adjustments: list[Adjustment] = field(default_factory=list)
    can_restore: bool = False
    previous: str | None = None
