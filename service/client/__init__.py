"""Python clients of the service: `SearchClient` and `AsyncSearchClient`.

Example:
    with SearchClient("http://127.0.0.1:8000") as client:
        result = client.search("catch several exceptions in one handler", top_k=3)
        for hit in result.hits:
            ...  # hit.id, hit.text, hit.confidence

All that they raise is a `SearchError`.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, Retrying

from service.client.collection_requests import Collection, CopyProgress
from service.client.collections import AsyncCollectionCalls, CollectionCalls
from service.client.document_requests import (
    PutResult,
    RefusedDocument,
    ReplacedDocument,
    StoredDocument,
    WireDocument,
    WrittenDocument,
)
from service.client.documents import AsyncDocumentCalls, DocumentCalls
from service.client.errors import (
    BodyTooLargeError,
    ClientTimeoutError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    DiskFullError,
    InternalError,
    InvalidRequestError,
    MalformedBodyError,
    MethodNotAllowedError,
    NotAvailableError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    PreconditionFailedError,
    SearchError,
    StoreFailedError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnsupportedMediaTypeError,
)
from service.client.filters import Filters
from service.client.http import (
    http_options,
    in_collection,
    network_errors,
    pairs_body,
    read,
    request_body,
    retry_options,
)
from service.client.jobs import AsyncJobCalls, Job, JobCalls, Refusal
from service.client.records import (
    CachedInfo,
    Health,
    Hit,
    IndexInfo,
    ModelsInfo,
    PairVerdict,
    RerankInfo,
    SearchResult,
    SimilarityResult,
)

__all__ = [
    "AsyncSearchClient",
    "BodyTooLargeError",
    "CachedInfo",
    "ClientTimeoutError",
    "Collection",
    "ConflictError",
    "ConnectionFailedError",
    "CopyProgress",
    "DeadlineExceededError",
    "DiskFullError",
    "Filters",
    "Health",
    "Hit",
    "IndexInfo",
    "InternalError",
    "InvalidRequestError",
    "Job",
    "MalformedBodyError",
    "MethodNotAllowedError",
    "ModelsInfo",
    "NotAvailableError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "PairVerdict",
    "PreconditionFailedError",
    "PutResult",
    "Refusal",
    "RefusedDocument",
    "ReplacedDocument",
    "RerankInfo",
    "SearchClient",
    "SearchError",
    "SearchResult",
    "SimilarityResult",
    "StoreFailedError",
    "StoredDocument",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
    "WireDocument",
    "WrittenDocument",
]

ConfidenceWord = Literal["low", "medium", "high"]
Mode = Literal["dense", "sparse", "hybrid"]

_NOT_NOW = (NotReadyError, ConnectionFailedError, ClientTimeoutError)

_RESULT = TypeAdapter(SearchResult)
_HEALTH = TypeAdapter(Health)
_SIMILARITY = TypeAdapter(SimilarityResult)


class SearchClient(DocumentCalls, JobCalls, CollectionCalls):
    """A blocking client; threads may share one.

    `timeout` (seconds) bounds each wait for the network in one attempt. A request is tried again up
    to `retries` times when the server is overloaded, not ready or cannot be reached: after growing,
    random pauses, or as long as `Retry-After` asks, at most 30 s. `collection`, a name or an alias,
    is for all calls that name none themselves. `transport` stands in for the network.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        collection: str | None = None,
        timeout: float = 90.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        options = http_options(base_url, api_key, timeout)
        self._http = httpx.Client(**options, transport=transport)
        self._collection = collection
        self._retrying = Retrying(**retry_options(retries))

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

    def health(self) -> Health:
        """What the service says of itself, asked once. Raises if it does not answer."""
        with network_errors():
            response = self._http.get("readyz")
        return read(response, _HEALTH, accepted=(200, 503))

    def ready(self) -> bool:
        """Whether it can search now; False where it cannot be reached."""
        try:
            return (self.health()).status == "ready"
        except _NOT_NOW:
            return False

    def close(self) -> None:
        """Close the connections; leaving `with` does it too."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _search_once(self, body: dict[str, Any], collection: str | None) -> SearchResult:
        path = in_collection(collection or self._collection, "search")
        with network_errors():
            response = self._http.post(path, json=body)
        return read(response, _RESULT)

    def _similarity_once(self, body: dict[str, Any]) -> SimilarityResult:
        with network_errors():
            response = self._http.post("similarity", json=body)
        return read(response, _SIMILARITY)


class AsyncSearchClient(AsyncDocumentCalls, AsyncJobCalls, AsyncCollectionCalls):
    """The same for asyncio; tasks of one event loop may share it.

    Example:
        async with AsyncSearchClient() as client:
            result = await client.search("handle several exceptions")
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        collection: str | None = None,
        timeout: float = 90.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        options = http_options(base_url, api_key, timeout)
        self._http = httpx.AsyncClient(**options, transport=transport)
        self._collection = collection
        self._retrying = AsyncRetrying(**retry_options(retries))

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

    async def health(self) -> Health:
        """What the service says of itself, asked once. Raises if it does not answer."""
        with network_errors():
            response = await self._http.get("readyz")
        return read(response, _HEALTH, accepted=(200, 503))

    async def ready(self) -> bool:
        """Whether it can search now; False where it cannot be reached."""
        try:
            return (await self.health()).status == "ready"
        except _NOT_NOW:
            return False

    async def aclose(self) -> None:
        """Close the connections; leaving `async with` does it too."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def _search_once(self, body: dict[str, Any], collection: str | None) -> SearchResult:
        path = in_collection(collection or self._collection, "search")
        with network_errors():
            response = await self._http.post(path, json=body)
        return read(response, _RESULT)

    async def _similarity_once(self, body: dict[str, Any]) -> SimilarityResult:
        with network_errors():
            response = await self._http.post("similarity", json=body)
        return read(response, _SIMILARITY)
