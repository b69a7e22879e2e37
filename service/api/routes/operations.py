"""Probes and metrics."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.dependencies import StateDep
from service.api.gateway import RETRY_AFTER_S, not_ready
from service.api.schemas.common import LiveBody, ReadyBody
from service.api.strict_route import StrictRoute

router = APIRouter(tags=["operations"], route_class=StrictRoute)

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}
_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": ReadyBody, "description": "Something is not ready; `checks` says what."}
}


@router.get("/livez", summary="Is the process up?")
async def get_liveness() -> LiveBody:
    """Answers as long as the event loop runs."""
    return LiveBody()


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Alias of /readyz",
    responses=_NOT_READY,
)
@router.get("/readyz", summary="Can it search?", responses=_NOT_READY)
async def get_readiness(response: Response, state: StateDep) -> ReadyBody:
    """200 once models and index are loaded and a probe search went through both, else 503."""
    if state.engine is None or state.phase.stopping:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        if state.phase.stopping:
            return not_ready("the server is stopping")
        return not_ready("failed; see the server's log" if state.failed else "loading")
    checks = await asyncio.to_thread(state.engine.checks)  # it reads the store
    ready = all(check == "ok" for check in checks.values())
    response.status_code = 200 if ready else 503
    return ReadyBody(
        status="ready" if ready else "not_ready",
        checks=checks,
        documents=state.engine.documents,
        passages=state.engine.passages,
        notes=state.engine.notes,
    )


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=_TEXT)
async def get_metrics(state: StateDep) -> Response:
    """Counters, histograms and gauges in Prometheus' text format.

    A gauge that cannot be read now is `NaN`.
    """
    figures = await asyncio.to_thread(state.metrics.render)  # it reads the jobs' store
    return Response(figures, media_type=CONTENT_TYPE_LATEST)
