"""The wire of jobs: bulk uploads, evaluations and calibrations."""

from typing import Any

from pydantic import BaseModel, Field

from service.store.job_store import JobKind, State

JOB_ID = "0da9ea4bf9c342fa94918df08294b662"
"""An example."""


class AcceptedBody(BaseModel):
    """A job that waits for its turn; an upload is on disk."""

    job_id: str = Field(description="Its job: `GET /jobs/{job_id}`.", examples=[JOB_ID])


class JobSummaryBody(BaseModel):
    """The progress of a job. `done` and `refused` together are the lines that are processed.

    An evaluation or a calibration counts queries in `done` and `total`.
    """

    job_id: str = Field(description="The job's id.", examples=[JOB_ID])
    kind: JobKind = Field(
        description="An upload of documents, or work on labels.", examples=["upload"]
    )
    collection: str = Field(
        description="Its collection; an alias is resolved on acceptance.",
        examples=["main"],
    )
    state: State = Field(description="The last three are final.", examples=["running"])
    done: int = Field(description="Lines whose document is stored, or already was.", examples=[640])
    refused: int = Field(description="Lines that were refused.", examples=[2])
    total: int = Field(description="Lines of the upload that are not blank.", examples=[10_000])
    bytes: int = Field(description="Size of the upload.", examples=[5_242_880])
    rate: float | None = Field(
        description="Documents per second of work; null before the first batch.", examples=[41.5]
    )
    seconds_left: float | None = Field(
        description="At this rate, without the jobs before it; null if unknown.", examples=[225.5]
    )
    created: str = Field(
        description="When it was accepted: UTC, ISO 8601. Jobs are not ordered by it.",
        examples=["2026-03-01T12:00:00+00:00"],
    )
    finished: str | None = Field(description="When it ended; null before.")
    reason: str | None = Field(description="Why it failed; null if it did not.")
    note: str | None = Field(description="Why a running job is stuck, such as a full disk.")


class RefusalBody(BaseModel):
    """A line that was refused."""

    line: int = Field(description="1-based, blank lines included.", examples=[17])
    id: str | None = Field(description="The document's id, if the line has one.")
    field: str | None = Field(description="The wrong field; null for the whole line.")
    reason: str = Field(description="What is wrong, with the limit.", examples=["is missing"])


class JobBody(JobSummaryBody):
    """A job with the lines that were refused, and what came of it."""

    refusals: list[RefusalBody] = Field(description="The first 100, by line.")
    result: dict[str, Any] | None = Field(
        None,
        description="The report of an evaluation or a calibration, once it is `done`. See "
        "`docs/labels.md` for its fields.",
        examples=[{"labels": "main labels", "calibration": "e5-small+interaction-v1"}],
    )


class JobsBody(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobSummaryBody] = Field(description="At most `limit`.")
