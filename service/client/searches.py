"""Searches and comparisons, for both clients."""

from collections.abc import Sequence
from typing import Any, Literal

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, Retrying

from service.client.filters import Filters
from service.client.http import in_collection, network_errors, pairs_body, read, request_body
from service.client.records import SearchResult, SimilarityResult

ConfidenceWord = Literal["low", "medium", "high"]
Mode = Literal["dense", "sparse", "hybrid"]

_RESULT = TypeAdapter(SearchResult)
_SIMILARITY = TypeAdapter(SimilarityResult)


class SearchCalls:
    """How `SearchClient` searches."""

    _http: httpx.Client
    _retrying: Retrying
    _collection: str | None

    def search(  # noqa: PLR0913 (the fields of a request)
        self,
        query: str,
        *,
        top_k: int = 10,
        num_candidates: int = 100,
        mode: Mode | None = None,
        rerank: bool = True,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
        timeout_ms: int | None = None,
        return_text: bool = True,
        collection: str | None = None,
    ) -> SearchResult:
        """Search in two stages. The fields are those of `POST /search`.

        Example:
            client.search("Đạo hàm của hàm hợp", top_k=3, filters={"grade": [11, 12]})
            client.search("tides", filters={"day": {"gte": "2026-01-01"}, "not": {"draft": True}})
        """
        body = request_body(
            query=query,
            top_k=top_k,
            num_candidates=num_candidates,
            mode=mode,
            rerank=rerank,
            filters=filters,
            min_confidence=min_confidence,
            timeout_ms=timeout_ms,
            return_text=return_text,
        )
        return self._retrying(self._search_once, body, collection)

    def similarity(
        self, pairs: Sequence[tuple[str, str]], *, timeout_ms: int | None = None
    ) -> SimilarityResult:
        """Do the two queries of each pair mean the same? As `POST /similarity`.

        Example:
            result = client.similarity([("how do I close a file", "closing an open file")])
            result.results[0].same
        """
        return self._retrying(self._similarity_once, pairs_body(pairs, timeout_ms))

    def _search_once(self, body: dict[str, Any], collection: str | None) -> SearchResult:
        path = in_collection(collection or self._collection, "search")
        with network_errors():
            response = self._http.post(path, json=body)
        return read(response, _RESULT)

    def _similarity_once(self, body: dict[str, Any]) -> SimilarityResult:
        with network_errors():
            response = self._http.post("similarity", json=body)
        return read(response, _SIMILARITY)


class AsyncSearchCalls:
    """How `AsyncSearchClient` searches."""

    _http: httpx.AsyncClient
    _retrying: AsyncRetrying
    _collection: str | None

    async def search(  # noqa: PLR0913 (the fields of a request)
        self,
        query: str,
        *,
        top_k: int = 10,
        num_candidates: int = 100,
        mode: Mode | None = None,
        rerank: bool = True,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
        timeout_ms: int | None = None,
        return_text: bool = True,
        collection: str | None = None,
    ) -> SearchResult:
        """As `SearchClient.search`."""
        body = request_body(
            query=query,
            top_k=top_k,
            num_candidates=num_candidates,
            mode=mode,
            rerank=rerank,
            filters=filters,
            min_confidence=min_confidence,
            timeout_ms=timeout_ms,
            return_text=return_text,
        )
        return await self._retrying(self._search_once, body, collection)

    async def similarity(
        self, pairs: Sequence[tuple[str, str]], *, timeout_ms: int | None = None
    ) -> SimilarityResult:
        """As `SearchClient.similarity`."""
        return await self._retrying(self._similarity_once, pairs_body(pairs, timeout_ms))

    async def _search_once(self, body: dict[str, Any], collection: str | None) -> SearchResult:
        path = in_collection(collection or self._collection, "search")
        with network_errors():
            response = await self._http.post(path, json=body)
        return read(response, _RESULT)

    async def _similarity_once(self, body: dict[str, Any]) -> SimilarityResult:
        with network_errors():
            response = await self._http.post("similarity", json=body)
        return read(response, _SIMILARITY)
