"""What the classes for LangChain, LlamaIndex and Haystack have in common."""

from typing import Any

from secondpass_client.records import Hit, RankedDocument, SearchResult


def hit_metadata(result: SearchResult, hit: Hit) -> dict[str, Any]:
    """The document's metadata and the hit's fields, which win where names are equal."""
    return hit.metadata | {
        "id": hit.id,
        "title": hit.title,
        "start": hit.start,
        "end": hit.end,
        "confidence": hit.confidence,
        "probability": hit.probability,
        "rerank_score": hit.rerank_score,
        "retrieval_score": hit.retrieval_score,
        "answerable": result.answerable,
    }


def ranked_metadata(ranked: RankedDocument) -> dict[str, Any]:
    """The reranker's fields for a document."""
    return {
        "relevance_score": ranked.relevance_score,
        "confidence": ranked.confidence,
        "probability": ranked.probability,
    }
