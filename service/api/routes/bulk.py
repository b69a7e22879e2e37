"""`POST /documents/bulk`: documents by the million, in constant memory."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Request
from starlette.requests import ClientDisconnect

from service.api.dependencies import CollectionDep, JobsDep, require_key
from service.api.schemas.common import ErrorBody
from service.api.schemas.jobs import AcceptedBody
from service.api.strict_route import StrictRoute
from service.errors import InvalidInputError
from service.index.catalog import DEFAULT

router = APIRouter(tags=["documents"], dependencies=[Depends(require_key)], route_class=StrictRoute)

NDJSON = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
)
"""None that a web page of another origin may send unasked."""

_KEY = re.compile(r"[!-~]{1,255}")
_EXAMPLE = '{"id": "py-except", "text": "One except clause can name several types."}\n'
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A document a line: `id`, `text`, perhaps `title` and `metadata`.",
        "content": {NDJSON[0]: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorBody, "description": "The `Idempotency-Key` belongs to another upload."},
    413: {"model": ErrorBody, "description": "It is larger than the server's `max_bulk_bytes`."},
    415: {"model": ErrorBody, "description": "The body is not declared to be NDJSON."},
    507: {"model": ErrorBody, "description": "The disk is full; nothing of the upload is kept."},
}


def require_ndjson(request: Request) -> None:
    """Refuse a body that is not declared to be NDJSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in NDJSON:
        raise HTTPException(415, f"the body must be NDJSON: content-type: {NDJSON[0]}")


@router.post(
    "/documents/bulk",
    status_code=202,
    dependencies=[Depends(require_ndjson)],
    summary="Upload documents as NDJSON",
    responses=_RESPONSES,
    openapi_extra=_BODY,
)
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
            "the same name is the same job, unless it failed; with other bytes it is 409.",
        ),
    ] = None,
) -> AcceptedBody:
    """Answers once the whole upload is on the disk; a job then works through it.

    A line that is wrong is refused by itself, and the job says why. A document that is there
    already, unchanged, costs nothing.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise InvalidInputError("has 1 to 255 printable ASCII characters", "Idempotency-Key")
    asked = request.path_params.get("name", DEFAULT)
    job = await jobs.receive(_body(request), collection.name, asked, idempotency_key)
    return AcceptedBody(job_id=job.id)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise InvalidInputError("the upload ended before it was whole", "body") from error
