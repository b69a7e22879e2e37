"""Bulk uploads of documents, and `/jobs`: what works through them, and through labels."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.body import Body, pieces
from service.api.openapi import failures
from service.api.route_rules import Route, Rules
from service.api.schemas.job_schemas import (
    JOB_ID,
    AcceptedBody,
    JobBody,
    JobsBody,
    JobSummaryBody,
    RefusalBody,
)
from service.api.state import CallerDep, CollectionDep, EngineDep, JobsDep, StateDep
from service.engine.bulk_jobs import Jobs
from service.errors import InvalidInputError, NotFoundError
from service.store.catalog import DEFAULT
from service.store.job_store import KEPT_JOBS, MOST_WAITING, Job

uploads = APIRouter(tags=["documents"], route_class=Route)
router = APIRouter(
    prefix="/jobs",
    tags=["jobs"],
    route_class=Route,
    responses=failures({409: "This server runs no bulk jobs."}),
)

_OF_COLLECTIONS = Rules(scope="write", narrowest="collections")

LOOK_EVERY_S = 0.25
_RECONNECT_MS = 2000

_EVENT = f'event: progress\ndata: {{"job_id":"{JOB_ID}","state":"running"}}\n\n'
_GONE = failures({404: "There is no such job, or it is no longer kept."})

NDJSON = Body(
    limit="max_bulk_bytes",
    name="NDJSON",
    media_types=(
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
    ),
    streamed=True,
)
"""None of these can be sent by a web page of another origin without a preflight."""

_KEY = re.compile(r"[!-~]{1,255}")
_EXAMPLE = '{"id": "py-except", "text": "One except clause can name several types."}\n'
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One document per line: `id`, `text`, perhaps `title` and `metadata`.",
        "content": {NDJSON.media_types[0]: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
_FAILURES = failures(
    {
        409: "The `Idempotency-Key` belongs to another upload.",
        413: "The upload is larger than the server's `max_bulk_bytes`.",
        415: "The body is not declared to be NDJSON.",
        507: "The disk is full; nothing of the upload is kept.",
    }
)


@uploads.post(
    "/documents/bulk",
    status_code=202,
    summary="Upload documents as NDJSON",
    responses=_FAILURES,
    openapi_extra=_BODY,
)
@Rules(scope="write", narrowest="collections", body=NDJSON)
async def upload_documents(
    request: Request,
    collection: CollectionDep,
    jobs: JobsDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            json_schema_extra={"pattern": f"^{_KEY.pattern}$"},
            description="1 to 255 printable ASCII characters. The same key with the same bytes for "
            "the same name gives the same job, unless it failed; with other bytes, 409.",
        ),
    ] = None,
) -> AcceptedBody:
    """Answer once the whole upload is on disk; a job then works through it.

    Lines are refused independently, and the job says why. A document that is already stored
    unchanged costs nothing.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise InvalidInputError("has 1 to 255 printable ASCII characters", "Idempotency-Key")
    asked = request.path_params.get("name", DEFAULT)
    job = await jobs.receive(pieces(request), collection.name, asked, idempotency_key)
    return AcceptedBody(job_id=job.id)


async def _streaming(state: StateDep) -> AsyncIterator[None]:
    """Hold a permit while events are streamed; raises `OverloadedError`."""
    with state.streams.permit():
        yield


async def _found(
    jobs: JobsDep,
    engine: EngineDep,
    caller: CallerDep,
    id_: Annotated[str, Path(alias="id", description="The job's id.", examples=[JOB_ID])],
) -> Job:
    job = await asyncio.to_thread(jobs.get, id_)
    if not caller.may_use(job.collection, engine.folder.catalog):
        raise NotFoundError(f"there is no job {id_!r}")
    return job


JobDep = Annotated[Job, Depends(_found)]


@router.get("", summary="List jobs")
@_OF_COLLECTIONS
async def list_jobs(
    jobs: JobsDep,
    engine: EngineDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=KEPT_JOBS, description="Most jobs in the answer.")] = 100,
) -> JobsBody:
    """Jobs, the newest first. The last thousand finished jobs are kept."""
    catalog = engine.folder.catalog
    most = limit if caller.sees_all else KEPT_JOBS + MOST_WAITING
    found = await asyncio.to_thread(jobs.newest, most)
    own = [job for job in found if caller.may_use(job.collection, catalog)][:limit]
    return JobsBody(jobs=[JobSummaryBody(**_fields(jobs, job)) for job in own])


@router.get("/{id}", summary="Read a job", responses=_GONE)
@_OF_COLLECTIONS
async def get_job(jobs: JobsDep, job: JobDep) -> JobBody:
    """Its progress. The counts are those after the last stored batch of at most 64 lines."""
    return await asyncio.to_thread(_body, jobs, job)


@router.delete("/{id}", summary="Cancel a job", responses=_GONE)
@_OF_COLLECTIONS
async def cancel_job(jobs: JobsDep, job: JobDep) -> JobBody:
    """Cancel it. What it has stored stays, and the running batch still counts.

    A job that has ended does not change; see the answer's `state`.
    """
    return await asyncio.to_thread(lambda: _body(jobs, jobs.cancel(job.id)))


@router.get(
    "/{id}/events",
    dependencies=[Depends(_streaming)],
    response_class=EventSourceResponse,
    summary="Follow a job",
    responses={
        200: {
            "description": "`progress` events and an `end` event, each with the job as its data.",
            "content": {"text/event-stream": {"example": _EVENT}},
        },
        **_GONE,
    },
)
@_OF_COLLECTIONS
async def follow_job(
    jobs: JobsDep, state: StateDep, job: JobDep, caller: CallerDep
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the job now, and after each change until it ends.

    Reconnect after a failed connection: nothing is missed, because each event has the whole job.
    """
    sent: JobBody | None = None
    while not state.phase.closing and state.keys.may_stay(caller.key):
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
    return JobBody(**_fields(jobs, job), refusals=refusals, result=jobs.result(job.id))


def _fields(jobs: Jobs, job: Job) -> dict[str, Any]:
    return {
        **asdict(job),
        "job_id": job.id,
        "rate": None if job.rate is None else round(job.rate, 2),
        "seconds_left": None if job.seconds_left is None else round(job.seconds_left, 1),
        "note": jobs.note(job.id),
    }
