"""Python clients of the service: `SearchClient` and `AsyncSearchClient`.

Example:
    with SearchClient("http://127.0.0.1:8000") as client:
        result = client.search("catch several exceptions in one handler", top_k=3)
        for hit in result.hits:
            ...  # hit.id, hit.text, hit.confidence

All that they raise is a `SearchError`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, Retrying

from service.client.errors import (
    BodyTooLargeError,
    ClientTimeoutError,
    ConnectionFailedError,
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    MalformedBodyError,
    MethodNotAllowedError,
    NotAvailableError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SearchError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnsupportedMediaTypeError,
)
from service.client.http import (
    http_options,
    network_errors,
    pairs_body,
    read,
    request_body,
    retry_options,
)
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
    "ConnectionFailedError",
    "DeadlineExceededError",
    "Health",
    "Hit",
    "IndexInfo",
    "InternalError",
    "InvalidRequestError",
    "MalformedBodyError",
    "MethodNotAllowedError",
    "ModelsInfo",
    "NotAvailableError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "PairVerdict",
    "RerankInfo",
    "SearchClient",
    "SearchError",
    "SearchResult",
    "SimilarityResult",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
]

Filters = Mapping[str, str | int | float | bool | Sequence[str | int | float | bool]]
ConfidenceWord = Literal["low", "medium", "high"]

_NOT_NOW = (NotReadyError, ConnectionFailedError, ClientTimeoutError)

_RESULT = TypeAdapter(SearchResult)
_HEALTH = TypeAdapter(Health)
_SIMILARITY = TypeAdapter(SimilarityResult)


class SearchClient:
    """A blocking client; threads may share one.

    `timeout` (seconds) bounds each wait for the network in one attempt. A request is tried again up
    to `retries` times when the server is overloaded, not ready or cannot be reached: after growing,
    random pauses, or as long as `Retry-After` asks, at most 30 s. `transport` stands in for the
    network.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 90.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        options = http_options(base_url, api_key, timeout)
        self._http = httpx.Client(**options, transport=transport)
        self._retrying = Retrying(**retry_options(retries))

    def search(
        self,
        query: str,
        *,
        top_k: int = 10,
        num_candidates: int = 100,
        rerank: bool = True,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
        timeout_ms: int | None = None,
        return_text: bool = True,
    ) -> SearchResult:
        """Search in two stages. The fields are those of `POST /search`.

        Example:
            client.search("Đạo hàm của hàm hợp", top_k=3, filters={"grade": [11, 12]})
        """
        body = request_body(
            query=query,
            top_k=top_k,
            num_candidates=num_candidates,
            rerank=rerank,
            filters=filters,
            min_confidence=min_confidence,
            timeout_ms=timeout_ms,
            return_text=return_text,
        )
        return self._retrying(self._search_once, body)

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

    def _search_once(self, body: dict[str, Any]) -> SearchResult:
        with network_errors():
            response = self._http.post("search", json=body)
        return read(response, _RESULT)

    def _similarity_once(self, body: dict[str, Any]) -> SimilarityResult:
        with network_errors():
            response = self._http.post("similarity", json=body)
        return read(response, _SIMILARITY)


class AsyncSearchClient:
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
        timeout: float = 90.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        options = http_options(base_url, api_key, timeout)
        self._http = httpx.AsyncClient(**options, transport=transport)
        self._retrying = AsyncRetrying(**retry_options(retries))

    async def search(
        self,
        query: str,
        *,
        top_k: int = 10,
        num_candidates: int = 100,
        rerank: bool = True,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
        timeout_ms: int | None = None,
        return_text: bool = True,
    ) -> SearchResult:
        """As `SearchClient.search`."""
        body = request_body(
            query=query,
            top_k=top_k,
            num_candidates=num_candidates,
            rerank=rerank,
            filters=filters,
            min_confidence=min_confidence,
            timeout_ms=timeout_ms,
            return_text=return_text,
        )
        return await self._retrying(self._search_once, body)

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

    async def _search_once(self, body: dict[str, Any]) -> SearchResult:
        with network_errors():
            response = await self._http.post("search", json=body)
        return read(response, _RESULT)

    async def _similarity_once(self, body: dict[str, Any]) -> SimilarityResult:
        with network_errors():
            response = await self._http.post("similarity", json=body)
        return read(response, _SIMILARITY)
