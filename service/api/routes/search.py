"""`POST /search`."""

from dataclasses import asdict

from fastapi import APIRouter, Depends, Request, Response

from service.api.dependencies import CollectionDep, StateDep, require_json, require_key
from service.api.errors import request_id
from service.api.schemas import (
    CachedBody,
    HitBody,
    IndexBody,
    ModelsBody,
    RerankBody,
    SearchRequest,
    SearchResponse,
)
from service.api.timing import server_timing
from service.pipeline.query import Query, Result

router = APIRouter(tags=["search"], dependencies=[Depends(require_key)])


@router.post("/search", dependencies=[Depends(require_json)], summary="Search in two stages")
async def search(
    body: SearchRequest,
    request: Request,
    response: Response,
    collection: CollectionDep,
    state: StateDep,
) -> SearchResponse:
    """Recall passages with the bi-encoder, rerank them, and say how sure each hit is.

    Hits come in the order (score, id). The same request gives the same answer as long as the
    index does not change. `cached` says so where the answer is an earlier search's.
    """
    result = await collection.searcher.search(
        Query(
            query=body.query,
            top_k=body.top_k,
            num_candidates=body.num_candidates,
            rerank=body.rerank,
            filters=body.filters,
            min_confidence=body.min_confidence,
            timeout_ms=body.timeout_ms,
            mode=body.mode,
        )
    )
    state.metrics.observe_search(result)
    response.headers["Server-Timing"] = server_timing(result.timings_ms)
    return _response(result, body.return_text, request_id(request))


def _response(result: Result, return_text: bool, request_id: str) -> SearchResponse:
    return SearchResponse(
        query=result.query,
        hits=[_hit(asdict(hit), return_text) for hit in result.hits],
        answerable=result.answerable,
        rerank=RerankBody.model_validate(asdict(result.rerank)),
        timings_ms=result.timings_ms,
        models=ModelsBody.model_validate(result.models),
        index=IndexBody(
            generation=result.generation, revision=result.revision, documents=result.documents
        ),
        warnings=result.warnings,
        cached=CachedBody.model_validate(asdict(result.cached)) if result.cached else None,
        request_id=request_id,
    )


def _hit(fields: dict[str, object], return_text: bool) -> HitBody:
    del fields["score"]
    if not return_text:
        fields["text"] = None
    return HitBody.model_validate(fields)
