"""What the rerank endpoints of all formats share."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.api.schemas.rerank_schemas import (
    MOST_TOKENS,
    MetaBody,
    RankBody,
    RerankRequest,
    RerankResponse,
    RerankResultBody,
    SpanBody,
    TextBody,
    TokensBody,
    UnitsBody,
    UsageBody,
    VersionBody,
)
from service.engine.engine import Engine
from service.errors import InvalidInputError
from service.scheduling.gate import Deadline
from service.search.document_ranker import (
    TOKENS_PER_DOCUMENT,
    DocumentRanker,
    DocumentRanking,
    Names,
    RankedDocument,
)
from service.search.relevant_spans import SpanLimits


async def rank(engine: Engine, body: RerankRequest, documents: Sequence[str]) -> DocumentRanking:
    """Rank documents as the request says, with the models of the default collection."""
    searcher = engine.searcher
    names = Names(documents="documents" if body.texts is None else "texts")
    tokens = body.max_tokens_per_doc or max(0, body.truncate_prompt_tokens or 0)
    return await DocumentRanker(searcher).rank(
        body.query,
        documents,
        Deadline((body.timeout_ms or searcher.limits.timeout_ms) / 1000),
        top_n=body.top_n or None,
        tokens_per_document=min(tokens or TOKENS_PER_DOCUMENT, MOST_TOKENS),
        spans=_span_limits(body),
        names=names,
    )


def _span_limits(body: RerankRequest) -> SpanLimits | None:
    wanted = body.relevant_spans
    if wanted is None or wanted.mode != "enabled":
        return None
    return SpanLimits(wanted.threshold, wanted.max_spans)


def texts_of(body: RerankRequest) -> list[str]:
    """The documents as texts. Raises `InvalidInputError`."""
    return [
        given if isinstance(given, str) else text_of(given, body.rank_fields, f"documents.{place}")
        for place, given in enumerate(body.documents or ())
    ]


def text_of(document: Mapping[str, Any], fields: Sequence[str] | None, where: str) -> str:
    """The text of a document that is an object. Raises `InvalidInputError`."""
    content = document.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        if len(parts) < len(content) or not all(isinstance(part, str) for part in parts):
            raise InvalidInputError(f"{where}: only parts of text can be ranked", where)
        return "\n".join(map(str, parts))
    if fields is None and isinstance(document.get("text"), str):
        return str(document["text"])
    shown = {name: document[name] for name in fields or document if name in document}
    if not shown:
        raise InvalidInputError(f"{where} has none of the fields that are read", where)
    return "\n".join(f"{name}: {value}" for name, value in shown.items())


def score_of(document: RankedDocument, *, raw: bool | None) -> float:
    """The number that clients sort and cut by."""
    return document.score if raw else document.relevance


def usage(tokens: int) -> UsageBody:
    """Nothing is generated, so all tokens are the prompt's."""
    return UsageBody(prompt_tokens=tokens, total_tokens=tokens)


def meta(tokens: int, warnings: list[str]) -> MetaBody:
    """Cohere's."""
    return MetaBody(
        api_version=VersionBody(version="2"),
        billed_units=UnitsBody(search_units=1),
        tokens=TokensBody(input_tokens=tokens),
        warnings=warnings,
    )


def response(
    ranking: DocumentRanking,
    body: RerankRequest,
    texts: Sequence[str],
    request_id: str,
    *,
    bare_documents: bool = False,
) -> RerankResponse:
    """Cohere's and Jina's answer. With `bare_documents` a document is a string, not an object."""
    results = []
    for one in ranking.documents:
        result = RerankResultBody(
            index=one.index,
            relevance_score=score_of(one, raw=body.raw_scores),
            confidence=one.confidence,
            probability=one.probability,
            rerank_score=one.score if ranking.reranked else None,
            truncated=one.truncated,
        )
        if body.return_documents:
            text = texts[one.index]
            result.document = text if bare_documents else TextBody(text=text)
        if one.spans is not None:
            result.relevant_spans = [
                SpanBody(start=span.start, end=span.end, score=span.relevance) for span in one.spans
            ]
        results.append(result)
    return RerankResponse(
        id=request_id,
        model=ranking.model,
        results=results,
        answerable=ranking.answerable,
        meta=meta(ranking.tokens, ranking.warnings),
        usage=usage(ranking.tokens),
    )


async def tei_answer(engine: Engine, body: RerankRequest) -> list[RankBody]:
    """The array of text-embeddings-inference."""
    texts = body.texts or []
    ranking = await rank(engine, body, texts)
    rows = []
    for one in ranking.documents:
        row = RankBody(index=one.index, score=score_of(one, raw=body.raw_scores))
        if body.return_text:
            row.text = texts[one.index]
        rows.append(row)
    return rows
