"""OpenAI's embeddings and list of models."""

from fastapi import APIRouter, Response

from service.api.openapi import ERRORS, JSON, headers
from service.api.route_rules import COMPATIBLE, Route
from service.api.routes.compatible import embedding
from service.api.routes.compatible.reranking import usage
from service.api.schemas.common import written
from service.api.schemas.embedding_schemas import (
    EmbeddingRequest,
    EmbeddingResponse,
    ModelBody,
    ModelsList,
)
from service.api.state import EngineDep

router = APIRouter(tags=["compatible"], route_class=Route, responses=ERRORS)

_WARNED = headers("warnings", "Present if the texts were taken to be passages.", embedding.NO_SIDE)


@router.post("/tei/embed/v1/embeddings", operation_id="embed_for_tei", include_in_schema=False)
@router.post(
    "/v1/embeddings",
    operation_id="embed_as_openai",
    response_model=EmbeddingResponse,
    summary="Encode texts, in OpenAI's format",
    responses={200: _WARNED},
)
@COMPATIBLE
async def embed_as_openai(body: EmbeddingRequest, engine: EngineDep) -> Response:
    """Vectors of unit length, in the order of the texts; long texts are cut."""
    texts = embedding.texts_of(body.input, "input")
    side = embedding.side_of(body.input_type, body.model)
    found = await embedding.embed(engine, texts, side or "passage", body.dimensions)
    model = engine.searcher.encoder.identity.model
    whole = EmbeddingResponse(data=[], model=model, usage=usage(found.tokens))
    rows = (
        b'{"object":"embedding","index":%d,"embedding":%b}' % row
        for row in enumerate(embedding.rows(found.vectors, body.encoding_format))
    )
    content = await written(whole.model_dump_json().encode(), "data", rows)
    headers = {} if side else {"warnings": embedding.NO_SIDE}
    return Response(content, headers=headers, media_type=JSON)


@router.get("/v1/models", operation_id="list_models", summary="Models, in OpenAI's format")
@COMPATIBLE
async def list_models(engine: EngineDep) -> ModelsList:
    """The encoder, also under the names that say what texts are, and the reranker."""
    searcher = engine.searcher
    encoder, reranker = searcher.encoder.identity.model, searcher.second_stage.reranker
    names = [encoder, f"{encoder}:query", f"{encoder}:passage"]
    names += [reranker.model] if reranker else []
    return ModelsList(data=[ModelBody(id=name) for name in names])
