"""The wire of bulk uploads and their jobs. Names that stay."""

from typing import Literal

from pydantic import BaseModel, Field

JOB_ID = "0da9ea4bf9c342fa94918df08294b662"
"""An example."""


class AcceptedBody(BaseModel):
    """An upload that is on the disk."""

    job_id: str = Field(description="Asks for its job: `GET /jobs/{job_id}`.", examples=[JOB_ID])


class JobSummaryBody(BaseModel):
    """How far a job is. `done` and `refused` together are the lines dealt with."""

    job_id: str = Field(description="The job's id.", examples=[JOB_ID])
    collection: str = Field(
        description="The collection that it writes to, which an alias led to when it was accepted.",
        examples=["main"],
    )
    state: Literal["queued", "running", "done", "failed", "cancelled"] = Field(
        description="The last three are final.", examples=["running"]
    )
    done: int = Field(description="Lines whose document is stored, or was so.", examples=[640])
    refused: int = Field(description="Lines that were not taken.", examples=[2])
    total: int = Field(description="Lines of the upload that are not blank.", examples=[10_000])
    bytes: int = Field(description="Size of the upload.", examples=[5_242_880])
    rate: float | None = Field(
        description="Documents a second while the job was at work; null before the first ones.",
        examples=[41.5],
    )
    seconds_left: float | None = Field(
        description="At this rate, without the jobs before it; null where it is not known.",
        examples=[225.5],
    )
    created: str = Field(
        description="When it was accepted: UTC, ISO 8601. Jobs are not ordered by it.",
        examples=["2026-03-01T12:00:00+00:00"],
    )
    finished: str | None = Field(description="When it ended; null before.")
    reason: str | None = Field(description="Why it failed; null where it did not.")
    note: str | None = Field(
        description="Why a job that runs does not get on, such as a full disk; null where it does."
    )


class RefusalBody(BaseModel):
    """A line that was not taken."""

    line: int = Field(description="1-based, blank lines counted.", examples=[17])
    id: str | None = Field(description="The document's id, where the line has one.")
    field: str | None = Field(description="The field at fault; null for the whole line.")
    reason: str = Field(description="What is wrong, with the limit.", examples=["is missing"])


class JobBody(JobSummaryBody):
    """A job with the lines that were refused."""

    refusals: list[RefusalBody] = Field(description="The first 100, by line.")


class JobsBody(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobSummaryBody] = Field(description="At most `limit`.")
