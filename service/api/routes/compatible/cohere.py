"""Cohere's endpoints, which Jina, vLLM, LocalAI, Xinference and others share."""

from functools import partial

from fastapi import APIRouter, Response

from service.api.openapi import ERRORS, JSON, TIMED, example
from service.api.route_rules import COMPATIBLE, Route
from service.api.routes.compatible import embedding, reranking
from service.api.schemas.common import REQUEST_ID, as_json, server_timing, written
from service.api.schemas.embedding_schemas import CohereEmbedRequest, CohereEmbedResponse
from service.api.schemas.rerank_schemas import RankBody, RerankRequest, RerankResponse
from service.api.state import EngineDep, RequestIdDep
from service.engine.engine import Engine
from service.errors import InvalidInputError
from service.types import Vectors

router = APIRouter(tags=["compatible"], route_class=Route, responses=ERRORS)

alias = partial(router.post, include_in_schema=False, response_model_exclude_unset=True)
"""Another path of an endpoint."""

_RERANKED = {
    "id": REQUEST_ID,
    "model": "interaction-v1",
    "results": [
        {
            "index": 1,
            "relevance_score": 0.61,
            "confidence": "high",
            "probability": 0.61,
            "rerank_score": 65.1,
            "truncated": False,
        }
    ],
    "answerable": True,
    "meta": {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": 30},
        "warnings": [],
    },
    "usage": {"prompt_tokens": 30, "total_tokens": 30},
}


@alias("/v1/rerank", operation_id="rerank_as_cohere_v_one")
@alias("/v2/rerank", operation_id="rerank_as_cohere_v_two")
@router.post(
    "/rerank",
    response_model=RerankResponse | list[RankBody],
    response_model_exclude_unset=True,
    summary="Rank texts by a query",
    responses={200: TIMED[200] | example(_RERANKED)},
)
@COMPATIBLE
async def rerank(
    body: RerankRequest, request_id: RequestIdDep, response: Response, engine: EngineDep
) -> RerankResponse | list[RankBody]:
    """Rank texts that the request brings along; they are in no index.

    `documents` are answered in the format of Cohere, Jina and vLLM, with confidence and
    probability besides, and `texts` in that of text-embeddings-inference. A long document counts
    by its best passage. `/v1/rerank` and `/v2/rerank` are the same.
    """
    if (body.documents is None) == (body.texts is None):
        raise InvalidInputError("give either documents or texts", "documents")
    if body.texts is not None:
        return await reranking.tei_answer(engine, body)
    texts = reranking.texts_of(body)
    ranking = await reranking.rank(engine, body, texts)
    response.headers["Server-Timing"] = server_timing(ranking.timings_ms)
    return reranking.response(ranking, body, texts, request_id)


@router.post(
    "/infinity/rerank",
    operation_id="rerank_as_infinity",
    response_model_exclude_unset=True,
    summary="Rank texts, in Infinity's format",
)
@COMPATIBLE
async def rerank_as_infinity(
    body: RerankRequest, request_id: RequestIdDep, engine: EngineDep
) -> RerankResponse:
    """As `POST /rerank` with `documents`; a returned document is a string."""
    if body.documents is None:
        raise InvalidInputError("documents are missing", "documents")
    texts = reranking.texts_of(body)
    ranking = await reranking.rank(engine, body, texts)
    return reranking.response(ranking, body, texts, request_id, bare_documents=True)


@router.post(
    "/v2/embed",
    operation_id="embed_as_cohere",
    response_model=CohereEmbedResponse,
    summary="Encode texts, in Cohere's format",
)
@COMPATIBLE
async def embed_as_cohere(
    body: CohereEmbedRequest, request_id: RequestIdDep, engine: EngineDep
) -> Response:
    """Vectors of unit length. `/v1/embed` gives a bare list if `embedding_types` is left out."""
    kinds = dict.fromkeys(body.embedding_types or ["float"])
    content, vectors = await _embedded(body, request_id, engine, "by_type", {k: [] for k in kinds})
    for kind in kinds:
        content = await written(content, kind, embedding.rows(vectors, kind))
    return Response(content, media_type=JSON)


@alias("/v1/embed", operation_id="embed_as_cohere_v_one")
@COMPATIBLE
async def embed_as_cohere_v_one(
    body: CohereEmbedRequest, request_id: RequestIdDep, engine: EngineDep
) -> Response:
    """As `/v2/embed`, but a bare list of vectors if the request names no kind."""
    if body.embedding_types:
        return await embed_as_cohere(body, request_id, engine)
    content, vectors = await _embedded(body, request_id, engine, "floats", [])
    content = await written(content, "embeddings", embedding.rows(vectors, "float"))
    return Response(content, media_type=JSON)


async def _embedded(
    body: CohereEmbedRequest, request_id: str, engine: Engine, form: str, empty: object
) -> tuple[bytes, Vectors]:
    """The answer, whose `embeddings` are `empty`, and the vectors that belong there."""
    field, given = _texts_in(body)
    texts = embedding.texts_of(given, field)
    side = embedding.side_of(body.input_type, body.model)
    size, kind = body.output_dimension, side or "passage"
    found = await embedding.embed(engine, texts, kind, size, "output_dimension")
    meta = reranking.meta(found.tokens, [] if side else [embedding.NO_SIDE])
    answer = {
        "id": request_id,
        "embeddings": empty,
        "texts": [*texts.values()],
        "meta": meta.model_dump(),
        "response_type": f"embeddings_{form}",
    }
    return as_json(answer), found.vectors


def _texts_in(body: CohereEmbedRequest) -> tuple[str, list[str] | None]:
    """The field that has the texts, and its texts. Raises `InvalidInputError`."""
    if body.inputs is None:
        return "texts", body.texts
    texts = [
        reranking.text_of(entry, None, f"inputs.{place}") for place, entry in enumerate(body.inputs)
    ]
    return "inputs", texts
