"""Probes, metrics, and the OpenAPI document."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.error_table import RETRY_AFTER_S
from service.api.gateway import LIVENESS, READINESS, not_ready
from service.api.metrics import build
from service.api.openapi import ERRORS, Responses
from service.api.route_rules import OPEN, Route, Rules
from service.api.schemas.common import LiveBody, ReadyBody, VersionBody
from service.api.state import CallerDep, StateDep

router = APIRouter(
    tags=["operations"],
    route_class=Route,
    responses={status: ERRORS[status] for status in (421, 422, 431, 500)},
)

_COUNTED = 'secondpass_reranks_total{status="complete"} 42.0\n'
_BY_KEY: Responses = {status: ERRORS[status] for status in (401, 403, 429)}
_TEXT: Responses = {
    **_BY_KEY,
    200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": _COUNTED}}},
}
_NOT_READY: Responses = {
    503: {
        "model": ReadyBody,
        "description": "The server is not ready; `checks` says why.",
        "content": {"application/json": {"example": not_ready("loading").model_dump()}},
    }
}


@router.get(LIVENESS, summary="Is the process up?")
@OPEN
async def get_liveness() -> LiveBody:
    """Answer as long as the event loop runs."""
    return LiveBody()


@router.get(
    READINESS[1], operation_id="get_health", summary="Alias of /readyz", responses=_NOT_READY
)
@router.get(READINESS[0], summary="Can it search?", responses=_NOT_READY)
@OPEN
async def get_readiness(response: Response, state: StateDep, caller: CallerDep) -> ReadyBody:
    """200 once models and index are loaded and a test search succeeds, else 503.

    On a server with keys only a key that may see everything is shown figures and notes.
    """
    if state.engine is None or state.phase.stopping:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        failed = "failed; see the server's log" if state.failed else "loading"
        return not_ready("the server is stopping" if state.phase.stopping else failed)
    checks = await asyncio.to_thread(state.engine.checks)  # it reads the store
    ready = all(check == "ok" for check in checks.values())
    response.status_code = 200 if ready else 503
    status: Literal["ready", "not_ready"] = "ready" if ready else "not_ready"
    if not caller.sees_all:
        return ReadyBody(status=status, checks=checks)
    return ReadyBody(
        status=status,
        checks=checks,
        documents=state.engine.documents,
        passages=state.engine.passages,
        backends=dict(state.engine.backends),
        notes=state.engine.notes,
    )


@router.get("/version", summary="What runs here?", responses=_BY_KEY)
@Rules(scope=None, narrowest="documents", open_by="open_docs")
async def get_version() -> VersionBody:
    """The versions of the service, of Python and of torch."""
    return VersionBody(**build())


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=_TEXT)
@Rules(scope="metrics", open_by="open_metrics")
async def get_metrics(state: StateDep) -> Response:
    """Counters, histograms and gauges in Prometheus' text format; unreadable gauges are `NaN`."""
    figures = await asyncio.to_thread(state.metrics.render)  # it reads the jobs' database
    return Response(figures, media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
@Rules(scope=None, narrowest="documents", open_by="open_docs")
async def get_openapi(request: Request) -> JSONResponse:
    """The OpenAPI document, with a proxy's path prefix."""
    prefix = request.scope["root_path"]
    servers = {"servers": [{"url": prefix}]} if prefix else {}
    return JSONResponse({**request.app.openapi(), **servers})
