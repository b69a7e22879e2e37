"""`/jobs`: what becomes of bulk uploads."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.dependencies import JobsDep, StateDep, streaming
from service.api.openapi import failures
from service.api.routing import Route
from service.api.schemas.job_schemas import JOB_ID, JobBody, JobsBody, JobSummaryBody, RefusalBody
from service.engine.bulk_jobs import Jobs
from service.store.job_store import KEPT_JOBS, Job

router = APIRouter(
    prefix="/jobs",
    tags=["jobs"],
    route_class=Route,
    responses=failures({409: "This server runs no bulk jobs."}),
)

LOOK_EVERY_S = 0.25
_RECONNECT_MS = 2000

_EVENT = f'event: progress\ndata: {{"job_id":"{JOB_ID}","state":"running"}}\n\n'
_GONE = failures({404: "There is no such job, or no longer."})


async def _found(
    jobs: JobsDep,
    id_: Annotated[str, Path(alias="id", description="The job's id.", examples=[JOB_ID])],
) -> Job:
    return await asyncio.to_thread(jobs.get, id_)


JobDep = Annotated[Job, Depends(_found)]


@router.get("", summary="List jobs")
async def list_jobs(
    jobs: JobsDep,
    limit: Annotated[int, Query(ge=1, le=KEPT_JOBS, description="Jobs in the answer.")] = 100,
) -> JobsBody:
    """The newest first. Of those that have ended the last thousand are kept."""
    found = await asyncio.to_thread(jobs.newest, limit)
    return JobsBody(jobs=[JobSummaryBody(**_fields(jobs, job)) for job in found])


@router.get("/{id}", summary="How far is a job?", responses=_GONE)
async def get_job(jobs: JobsDep, job: JobDep) -> JobBody:
    """Its counts are those of the last batch that is stored, 64 lines at most."""
    return await asyncio.to_thread(_body, jobs, job)


@router.delete("/{id}", summary="Cancel a job", responses=_GONE)
async def cancel_job(jobs: JobsDep, job: JobDep) -> JobBody:
    """What it has stored stays, and the batch under way still counts.

    One that has ended stays as it is: the answer's `state` tells.
    """
    return await asyncio.to_thread(lambda: _body(jobs, jobs.cancel(job.id)))


@router.get(
    "/{id}/events",
    dependencies=[Depends(streaming)],
    response_class=EventSourceResponse,
    summary="Follow a job",
    responses={
        200: {
            "description": "`progress` events and an `end` event, each with a job as its data.",
            "content": {"text/event-stream": {"example": _EVENT}},
        },
        **_GONE,
    },
)
async def follow_job(jobs: JobsDep, state: StateDep, job: JobDep) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the job as it is, then whenever it changes, until it has ended.

    Begin again after a failed connection: nothing is missed, as each event has the whole job.
    """
    sent: JobBody | None = None
    while not state.phase.closing:
        body = await asyncio.to_thread(lambda: _body(jobs, jobs.get(job.id)))
        if body != sent:
            ended = body.finished is not None
            event = "end" if ended else "progress"
            yield ServerSentEvent(data=body, event=event, retry=_RECONNECT_MS)
            if ended:
                return
            sent = body
        await asyncio.sleep(LOOK_EVERY_S)


def _body(jobs: Jobs, job: Job) -> JobBody:
    refusals = [RefusalBody(**asdict(refusal)) for refusal in jobs.refusals(job.id)]
    return JobBody(**_fields(jobs, job), refusals=refusals)


def _fields(jobs: Jobs, job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "collection": job.collection,
        "state": job.state,
        "done": job.done,
        "refused": job.refused,
        "total": job.total,
        "bytes": job.bytes,
        "rate": None if job.rate is None else round(job.rate, 2),
        "seconds_left": None if job.seconds_left is None else round(job.seconds_left, 1),
        "created": job.created,
        "finished": job.finished,
        "reason": job.reason,
        "note": jobs.note(job.id),
    }
