"""`POST /similarity`."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from service.api.openapi import TIMED, failures
from service.api.route_rules import Route, Rules
from service.api.schemas.common import server_timing
from service.api.schemas.similarity_schemas import (
    SimilarityRequest,
    SimilarityResponse,
    VerdictBody,
)
from service.api.state import EngineDep, RequestIdDep
from service.errors import NotAvailableError

router = APIRouter(
    tags=["similarity"],
    route_class=Route,
    responses=failures({409: "This server has no pair model."}),
)


@router.post("/similarity", summary="Do queries mean the same?", responses=TIMED)
@Rules(scope="search", narrowest="documents", field_depth=3)
async def compare_queries(
    body: SimilarityRequest, request_id: RequestIdDep, response: Response, engine: EngineDep
) -> SimilarityResponse:
    """Compare pairs of queries by the pair model.

    The other pairs of a request do not change a verdict. 409 if the server has no pair model.
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
        request_id=request_id,
    )
