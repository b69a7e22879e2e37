"""`/evaluation` and `/calibration`: jobs that read a collection's labels, and what applies now."""

import asyncio

from fastapi import APIRouter, Request

from service.api.openapi import FULL, failures
from service.api.route_rules import Route, Rules
from service.api.schemas.calibration_schemas import (
    CalibrationBody,
    LabelJobRequest,
    RestoreRequest,
)
from service.api.schemas.job_schemas import AcceptedBody
from service.api.state import CollectionDep, JobsDep
from service.engine.bulk_jobs import Jobs
from service.engine.live_collection import LiveCollection
from service.store.catalog import DEFAULT
from service.store.job_store import JobKind

router = APIRouter(tags=["labels"], route_class=Route)

_STARTS = Rules(narrowest="collections")
_UNDER_WAY = failures({409: "Such a job is under way, or this server runs none."})


@router.post(
    "/evaluation",
    status_code=202,
    summary="Measure search by the labels",
    responses={**_UNDER_WAY, **FULL},
)
@_STARTS
async def create_evaluation(
    body: LabelJobRequest, request: Request, collection: CollectionDep, jobs: JobsDep
) -> AcceptedBody:
    """Start a job that searches all labelled queries. `GET /jobs/{id}` has its report as `result`:
    measures, confidence, the depth curve, lost documents, and what the labels suffice for.
    """
    return await _start("evaluation", body, request, collection, jobs)


@router.post(
    "/calibration",
    status_code=202,
    summary="Fit the confidence to the labels",
    responses={**_UNDER_WAY, **FULL},
)
@_STARTS
async def create_calibration(
    body: LabelJobRequest, request: Request, collection: CollectionDep, jobs: JobsDep
) -> AcceptedBody:
    """Start a job that fits the collection's calibration to its labels.

    Once it is done, searches use the new calibration at once, and after restarts. The job fails
    where the labels are too few; its `reason` says what is missing.
    """
    return await _start("calibration", body, request, collection, jobs)


@router.get("/calibration", summary="The calibration that applies")
@Rules(scope="search", narrowest="collections", gate="reads")
async def get_calibration(collection: CollectionDep) -> CalibrationBody:
    """Where it comes from, where its words begin, and how the labels moved it."""
    return CalibrationBody.of(collection.calibrations)


@router.post(
    "/calibration/restore",
    summary="Go back to the calibration before",
    responses={**failures({409: "There is no earlier calibration."}), **FULL},
)
@Rules(narrowest="collections", gate="writes")
async def restore_calibration(_body: RestoreRequest, collection: CollectionDep) -> CalibrationBody:
    """Undo the last calibration; called again, it applies once more."""
    await asyncio.to_thread(collection.use_calibration, None)
    return CalibrationBody.of(collection.calibrations)


async def _start(
    kind: JobKind,
    body: LabelJobRequest,
    request: Request,
    collection: LiveCollection,
    jobs: Jobs,
) -> AcceptedBody:
    asked = request.path_params.get("name", DEFAULT)
    options = {"labels": body.labels}
    job = await asyncio.to_thread(jobs.start_work, kind, collection.name, asked, options)
    return AcceptedBody(job_id=job.id)
