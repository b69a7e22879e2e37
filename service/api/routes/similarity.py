"""`POST /similarity`."""

from dataclasses import asdict

from fastapi import APIRouter, Depends, Request, Response

from service.api.dependencies import EngineDep, require_key
from service.api.errors import request_id
from service.api.guard import GuardedRoute
from service.api.schemas.similarity import SimilarityRequest, SimilarityResponse, VerdictBody
from service.api.timing import DECLARED, server_timing
from service.errors import NotAvailableError

router = APIRouter(
    tags=["similarity"], dependencies=[Depends(require_key)], route_class=GuardedRoute
)


@router.post("/similarity", summary="Do queries mean the same?", responses=DECLARED)
async def compare_queries(
    body: SimilarityRequest, request: Request, response: Response, engine: EngineDep
) -> SimilarityResponse:
    """Compare pairs of queries by the pair model.

    A pair gets the same verdict alone and among others. 409 where the server has no pair model.
    """
    model = engine.pair_model
    if model is None:
        raise NotAvailableError("this server has no pair model; its setting pair_model names one")
    pairs = [(pair.a, pair.b) for pair in body.pairs]
    comparison = await model.compare(pairs, body.timeout_ms)
    response.headers["Server-Timing"] = server_timing(comparison.timings_ms)
    return SimilarityResponse(
        results=[
            VerdictBody(index=index, **asdict(verdict))
            for index, verdict in enumerate(comparison.verdicts)
        ],
        threshold=model.threshold,
        model=model.name,
        timings_ms=comparison.timings_ms,
        request_id=request_id(request),
    )
