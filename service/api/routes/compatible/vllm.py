"""vLLM's scores of pairs."""

from fastapi import APIRouter

from service.api.openapi import ERRORS
from service.api.route_rules import COMPATIBLE, Route
from service.api.routes.compatible import reranking
from service.api.schemas.rerank_schemas import (
    MOST_DOCUMENTS,
    ScoreBody,
    ScoreRequest,
    ScoreResponse,
)
from service.api.state import EngineDep, RequestIdDep
from service.errors import InvalidInputError
from service.scheduling.gate import Deadline
from service.search.document_ranker import DocumentRanker, Names

router = APIRouter(tags=["compatible"], route_class=Route, responses=ERRORS)

MOST_QUERIES = 64
"""Most different texts on the left in one request: each one costs a ranking."""


@router.post("/v1/score", operation_id="score_as_vllm_v_one", include_in_schema=False)
@router.post("/score", operation_id="score", summary="Score pairs, in vLLM's format")
@COMPATIBLE
async def score(body: ScoreRequest, request_id: RequestIdDep, engine: EngineDep) -> ScoreResponse:
    """Score one text with each of the others, or texts pair by pair. `/v1/score` is the same."""
    of_left, left = _texts(body, "text_1", "queries", "data_1")
    of_right, right = _texts(body, "text_2", "documents", "data_2")
    names = Names(of_left, of_right)
    if len(left) == 1:
        left *= len(right)
    if len(left) != len(right):
        told = f"{of_left} must be one text, or one for each of {of_right}"
        raise InvalidInputError(told, of_left)
    if len(set(left)) > MOST_QUERIES:
        told = f"{of_left} may have {MOST_QUERIES} different texts"
        raise InvalidInputError(told, of_left)
    scores: dict[int, float] = {}
    tokens = 0
    searcher = engine.searcher
    deadline = Deadline(searcher.limits.timeout_ms / 1000)
    for query in dict.fromkeys(left):
        places = [place for place, text in enumerate(left) if text == query]
        documents = [right[place] for place in places]
        ranking = await DocumentRanker(searcher).rank(query, documents, deadline, names=names)
        tokens += ranking.tokens
        for one in ranking.documents:
            scores[places[one.index]] = reranking.score_of(one, raw=body.raw_scores)
    return ScoreResponse(
        id=request_id,
        model=searcher.scorer,
        data=[ScoreBody(index=index, score=scores[index]) for index in range(len(right))],
        usage=reranking.usage(tokens),
    )


def _texts(body: ScoreRequest, *names: str) -> tuple[str, list[str]]:
    """The first of the names that is given, and its texts. Raises `InvalidInputError`."""
    name = next((name for name in names if getattr(body, name) is not None), names[0])
    texts = getattr(body, name)
    found = [texts] if isinstance(texts, str) else texts or []
    if not 1 <= len(found) <= MOST_DOCUMENTS:
        raise InvalidInputError(f"{name} must have 1 to {MOST_DOCUMENTS} texts", name)
    return name, found
