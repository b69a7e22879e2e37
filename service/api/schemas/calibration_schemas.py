"""The wire of evaluations and calibrations."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from service.api.schemas.common import RequestBody
from service.engine.calibrations import Calibrations, Origin
from service.store.label_store import LabelKind


class LabelJobRequest(RequestBody):
    """Which labels a job reads."""

    labels: LabelKind = Field("labels", description="`labels` or `feedback`.", examples=["labels"])


class RestoreRequest(RequestBody):
    """An empty object: there is nothing to choose."""


class AdjustmentBody(BaseModel):
    """How labels moved a curve: its log odds became `shift + scale * log odds`."""

    curve: Literal["retrieval", "fused", "rerank"] = Field(
        description="The scores that it reads.", examples=["rerank"]
    )
    shift: float = Field(description="Above 0: hits are likelier than before.", examples=[0.62])
    shift_low: float = Field(description="Its 95 % interval begins here.", examples=[-0.1])
    shift_high: float = Field(description="And ends here.", examples=[1.3])
    scale: float = Field(description="Below 1: scores say less than before.", examples=[0.9])
    scale_low: float = Field(description="Its 95 % interval begins here.", examples=[0.6])
    scale_high: float = Field(description="And ends here.", examples=[1.4])
    hits: int = Field(description="Judged hits that it was fitted to.", examples=[24])
    queries: int = Field(description="Their queries.", examples=[6])


class CalibrationBody(BaseModel):
    """The calibration that a collection uses."""

    name: str | None = Field(
        description="As in `models.calibration` of an answer; null if none fits the models.",
        examples=["main-labels-3fa2b1c0"],
    )
    origin: Origin = Field(
        description="Fitted to the collection's `labels`, the server's setting `calibration`, or "
        "`shipped` with the models.",
        examples=["labels"],
    )
    date: str | None = Field(description="When it was fitted.", examples=["2026-03-01"])
    high: float | None = Field(
        description="Least probability of a `high` hit; null if the word is not given.",
        examples=[0.58],
    )
    medium: float | None = Field(description="The same for `medium`.", examples=[0.37])
    adjusted_from: str | None = Field(
        description="The calibration whose curves the labels moved.",
        examples=["e5-small+interaction-v1"],
    )
    adjustments: list[AdjustmentBody] = Field(description="How far they moved them.")
    can_restore: bool = Field(description="Whether there is another one to go back to.")
    previous: str | None = Field(
        description="The one that `POST /calibration/restore` leads to; null for the server's own.",
        examples=[None],
    )

    @classmethod
    def of(cls, calibrations: Calibrations) -> Self:
        """The record for the wire."""
        judge, current = calibrations.judge(), calibrations.current
        fits = judge.name is not None and current is not None
        words = judge.thresholds
        return cls(
            name=judge.name,
            origin=calibrations.origin,
            date=current.date if current and fits else None,
            high=words.high if words.high <= 1.0 else None,
            medium=words.medium if words.medium <= 1.0 else None,
            adjusted_from=current.adjusted_from if current and fits else None,
            adjustments=[
                AdjustmentBody.model_validate({"curve": name, **one.model_dump()})
                for name, one in (current.adjustments if current and fits else {}).items()
            ],
            can_restore=calibrations.can_restore,
            previous=calibrations.previous.name if calibrations.previous else None,
        )
