"""Several searches in one request, for both clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Required, TypedDict

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, Retrying

from service.client.errors import SearchError, error_from_content
from service.client.filters import Filters
from service.client.http import in_collection, network_errors, read
from service.client.records import SearchResult


class SearchFields(TypedDict, total=False):
    """The fields of one search, as `POST /search` takes them."""

    query: Required[str]
    top_k: int
    num_candidates: int
    mode: Literal["dense", "sparse", "hybrid"]
    rerank: bool
    filters: Filters
    min_confidence: Literal["low", "medium", "high"]
    timeout_ms: int
    return_text: bool


@dataclass(frozen=True, slots=True)
class _Failed:
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Batch:
    results: list[SearchResult | _Failed]


_BATCH = TypeAdapter(_Batch)


class BatchCalls:
    """What `SearchClient` can ask at once."""

    _http: httpx.Client
    _retrying: Retrying
    _collection: str | None

    def search_batch(
        self, queries: Sequence[str | SearchFields], *, collection: str | None = None
    ) -> list[SearchResult | SearchError]:
        """Several searches in one request: a text, or the fields of `search`, each.

        In the order of `queries` stands a result, or the error of that search, which is not raised:
        the others have their results. What is wrong with the request as a whole is raised.

        Example:
            found = client.search_batch(["tides", {"query": "Đạo hàm của hàm hợp", "top_k": 3}])
            results = [one for one in found if not isinstance(one, SearchError)]
        """
        return self._retrying(self._search_batch_once, _body(queries), collection)

    def _search_batch_once(
        self, body: dict[str, Any], collection: str | None
    ) -> list[SearchResult | SearchError]:
        path = in_collection(collection or self._collection, "search", "batch")
        with network_errors():
            response = self._http.post(path, json=body)
        return _results(response)


class AsyncBatchCalls:
    """What `AsyncSearchClient` can ask at once."""

    _http: httpx.AsyncClient
    _retrying: AsyncRetrying
    _collection: str | None

    async def search_batch(
        self, queries: Sequence[str | SearchFields], *, collection: str | None = None
    ) -> list[SearchResult | SearchError]:
        """As `SearchClient.search_batch`."""
        return await self._retrying(self._search_batch_once, _body(queries), collection)

    async def _search_batch_once(
        self, body: dict[str, Any], collection: str | None
    ) -> list[SearchResult | SearchError]:
        path = in_collection(collection or self._collection, "search", "batch")
        with network_errors():
            response = await self._http.post(path, json=body)
        return _results(response)


def _body(queries: Sequence[str | SearchFields]) -> dict[str, Any]:
    return {"queries": [{"query": q} if isinstance(q, str) else dict(q) for q in queries]}


def _results(response: httpx.Response) -> list[SearchResult | SearchError]:
    return [
        one if isinstance(one, SearchResult) else error_from_content(one.error)
        for one in read(response, _BATCH).results
    ]
