"""The endpoints of Hugging Face's text-embeddings-inference (TEI).

A TEI server has one model, and its `/info` says of which kind. So each kind has an address of its
own, `/tei/rerank` and `/tei/embed`; the root is that of the reranker.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from service import __version__
from service.api.openapi import ERRORS, JSON, example
from service.api.route_rules import COMPATIBLE, Route, Rules
from service.api.routes.compatible import embedding, reranking
from service.api.schemas.common import LiveBody, as_json, joined
from service.api.schemas.embedding_schemas import (
    MOST_CHARS,
    EmbedRequest,
    InfoBody,
    TokenBody,
    TokenizeRequest,
)
from service.api.schemas.rerank_schemas import MOST_DOCUMENTS, RankBody, RerankRequest
from service.api.state import EngineDep, ServerState, StateDep
from service.engine.engine import Engine
from service.errors import InvalidInputError
from service.types import Piece

router = APIRouter(tags=["compatible"], route_class=Route, responses=ERRORS)

alias = partial(router.post, include_in_schema=False)

_RERANKER = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}


@alias("/tei/rerank", operation_id="rerank_at_tei", response_model_exclude_unset=True)
@alias("/tei/rerank/rerank", operation_id="rerank_as_tei", response_model_exclude_unset=True)
@COMPATIBLE
async def rerank_as_tei(body: RerankRequest, engine: EngineDep) -> list[RankBody]:
    """As `POST /rerank` with `texts`. Some clients use the address itself as the endpoint."""
    if body.texts is None:
        raise InvalidInputError("texts are missing", "texts")
    return await reranking.tei_answer(engine, body)


@alias("/tei/embed/embed", operation_id="embed_as_tei_below")
@router.post(
    "/embed",
    operation_id="embed_as_tei",
    response_model=list[list[float]],
    summary="Encode texts, in TEI's format",
    responses={200: example([[0.0123, -0.0456]])},
)
@COMPATIBLE
async def embed_as_tei(body: EmbedRequest, engine: EngineDep) -> Response:
    """Vectors of unit length. `/tei/embed/embed` is the same."""
    texts = embedding.texts_of(body.inputs, "inputs")
    side = embedding.side_of(None, f":{body.prompt_name}") or "passage"
    found = await embedding.embed(engine, texts, side, body.dimensions)
    content = await joined(embedding.rows(found.vectors, "float"))
    return Response(b"[%b]" % content, media_type=JSON)


@alias("/tei/embed/tokenize", operation_id="tokenize_for_embed")
@alias("/tei/rerank/tokenize", operation_id="tokenize_for_rerank")
@router.post(
    "/tokenize",
    response_model=list[list[TokenBody]],
    summary="Split texts into tokens, in TEI's format",
    responses={200: example([[TokenBody(id=3642, text="how", start=0, stop=3).model_dump()]])},
)
@COMPATIBLE
async def tokenize(body: TokenizeRequest, engine: EngineDep) -> Response:
    """The tokens of each text, as the encoder reads it without prefix."""
    texts = embedding.texts_of(body.inputs, "inputs")
    if sum(map(len, texts.values())) > MOST_CHARS:
        raise InvalidInputError(f"inputs may have {MOST_CHARS} characters together", "inputs")
    found = await engine.searcher.embedder.pieces(texts)
    # In a thread: each character may be a token.
    content = await asyncio.to_thread(lambda: b",".join(map(_tokens, texts.values(), found)))
    return Response(b"[%b]" % content, media_type=JSON)


def _tokens(text: str, pieces: Sequence[Piece]) -> bytes:
    """A list of `TokenBody` as JSON."""
    return as_json(
        [
            {"id": id_, "text": text[start:end], "special": False, "start": start, "stop": end}
            for id_, start, end in pieces
        ]
    )


@router.get("/tei/rerank/info", operation_id="get_rerank_info", include_in_schema=False)
@router.get("/info", operation_id="get_info", summary="The reranker, for TEI")
@COMPATIBLE
async def get_info(engine: EngineDep, state: StateDep) -> InfoBody:
    """The model at the root and at `/tei/rerank`. For the encoder see `/tei/embed/info`."""
    return _info(engine, state, engine.searcher.scorer, _RERANKER)


@router.get(
    "/tei/embed/info", operation_id="get_embed_info", summary="The encoder, in TEI's format"
)
@COMPATIBLE
async def get_embed_info(engine: EngineDep, state: StateDep) -> InfoBody:
    """The model at `/tei/embed`."""
    return _info(engine, state, engine.searcher.encoder.identity.model, {"embedding": {}})


def _info(engine: Engine, state: ServerState, model: str, kind: dict[str, Any]) -> InfoBody:
    settings = state.settings
    return InfoBody(
        model_id=model,
        served_model_name=model,
        model_type=kind,
        max_concurrent_requests=settings.max_queue,
        max_input_length=engine.searcher.encoder.identity.max_length,
        max_batch_tokens=settings.batch_tokens,
        max_client_batch_size=MOST_DOCUMENTS,
        version=__version__,
    )


@router.get("/tei/embed/health", operation_id="get_health_of_embed", include_in_schema=False)
@router.get("/tei/rerank/health", operation_id="get_health_of_rerank", include_in_schema=False)
@router.get("/health", operation_id="get_tei_health", summary="Is it ready? In TEI's format")
@Rules(scope=None, open=True, compatible=True)
async def get_tei_health(_engine: EngineDep) -> LiveBody:
    """200 once the models are loaded; `/readyz` tells more."""
    return LiveBody()
