"""`POST /documents/bulk`: documents by the million, in constant memory."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Request

from service.api.body import Body, pieces
from service.api.dependencies import CollectionDep, JobsDep
from service.api.openapi import failures
from service.api.routing import Route, Rules
from service.api.schemas.job_schemas import AcceptedBody
from service.errors import InvalidInputError
from service.store.catalog import DEFAULT

router = APIRouter(tags=["documents"], route_class=Route)

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
"""None that a web page of another origin may send unasked."""

_KEY = re.compile(r"[!-~]{1,255}")
_EXAMPLE = '{"id": "py-except", "text": "One except clause can name several types."}\n'
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A document a line: `id`, `text`, perhaps `title` and `metadata`.",
        "content": {NDJSON.media_types[0]: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
_FAILURES = failures(
    {
        409: "The `Idempotency-Key` belongs to another upload.",
        413: "It is larger than the server's `max_bulk_bytes`.",
        415: "The body is not declared to be NDJSON.",
        507: "The disk is full; nothing of the upload is kept.",
    }
)


@router.post(
    "/documents/bulk",
    status_code=202,
    summary="Upload documents as NDJSON",
    responses=_FAILURES,
    openapi_extra=_BODY,
)
@Rules(body=NDJSON)
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
    job = await jobs.receive(pieces(request), collection.name, asked, idempotency_key)
    return AcceptedBody(job_id=job.id)
