"""Python clients of the service: `SearchClient` and `AsyncSearchClient`.

Example:
    with SearchClient("http://127.0.0.1:8000") as client:
        result = client.search("catch several exceptions in one handler", top_k=3)
        for hit in result.hits:
            ...  # hit.id, hit.text, hit.confidence

All that they raise is a `SearchError`.
"""

from typing import Self

import httpx
from pydantic import TypeAdapter
from tenacity import AsyncRetrying, Retrying

from service.client.batches import AsyncBatchCalls, BatchCalls, SearchFields
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
    BadRequestError,
    BodyTooLargeError,
    ClientTimeoutError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    DiskFullError,
    HeadTooLargeError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    MisdirectedRequestError,
    NotAvailableError,
    NotFoundError,
    NotReadyError,
    NotSupportedError,
    OverloadedError,
    PreconditionFailedError,
    RequestTimeoutError,
    SearchError,
    StoreFailedError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnsupportedMediaTypeError,
    VersionNotSupportedError,
)
from service.client.filters import Filters
from service.client.http import http_options, network_errors, read, retry_options
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
from service.client.searches import AsyncSearchCalls, SearchCalls

__all__ = [
    "AsyncSearchClient",
    "BadRequestError",
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
    "HeadTooLargeError",
    "Health",
    "Hit",
    "IndexInfo",
    "InternalError",
    "InvalidRequestError",
    "Job",
    "MethodNotAllowedError",
    "MisdirectedRequestError",
    "ModelsInfo",
    "NotAvailableError",
    "NotFoundError",
    "NotReadyError",
    "NotSupportedError",
    "OverloadedError",
    "PairVerdict",
    "PreconditionFailedError",
    "PutResult",
    "Refusal",
    "RefusedDocument",
    "ReplacedDocument",
    "RequestTimeoutError",
    "RerankInfo",
    "SearchClient",
    "SearchError",
    "SearchFields",
    "SearchResult",
    "SimilarityResult",
    "StoreFailedError",
    "StoredDocument",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
    "VersionNotSupportedError",
    "WireDocument",
    "WrittenDocument",
]

_NOT_NOW = (NotReadyError, ConnectionFailedError, ClientTimeoutError)

_HEALTH = TypeAdapter(Health)


class SearchClient(SearchCalls, BatchCalls, DocumentCalls, JobCalls, CollectionCalls):
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


class AsyncSearchClient(
    AsyncSearchCalls, AsyncBatchCalls, AsyncDocumentCalls, AsyncJobCalls, AsyncCollectionCalls
):
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
