"""Python clients of the service: `SearchClient` and `AsyncSearchClient`.

Example:
    with SearchClient("http://127.0.0.1:8000") as client:
        result = client.search("catch several exceptions in one handler", top_k=3)
        for hit in result.hits:
            ...  # hit.id, hit.text, hit.confidence

All that they raise is a `SearchError`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from service.client.errors import (
    BodyTooLargeError,
    ClientTimeoutError,
    ConnectionFailedError,
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    MalformedBodyError,
    MethodNotAllowedError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SearchError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnsupportedMediaTypeError,
    error_from_answer,
)
from service.client.records import Health, Hit, IndexInfo, ModelsInfo, RerankInfo, SearchResult

__all__ = [
    "AsyncSearchClient",
    "BodyTooLargeError",
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
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "RerankInfo",
    "SearchClient",
    "SearchError",
    "SearchResult",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
]

MAX_WAIT_S = 30.0
"""Longest wait before a retry, whatever `Retry-After` asks for."""

Filters = Mapping[str, str | int | float | bool | Sequence[str | int | float | bool]]
ConfidenceWord = Literal["low", "medium", "high"]

_RETRIED = (OverloadedError, NotReadyError, ConnectionFailedError)
_NOT_NOW = (NotReadyError, ConnectionFailedError, ClientTimeoutError)
_BACKOFF = wait_exponential(multiplier=0.25, max=8) + wait_random(0, 0.25)

_RESULT = TypeAdapter(SearchResult)
_HEALTH = TypeAdapter(Health)
_T = TypeVar("_T")


class SearchClient:
    """A blocking client; threads may share one.

    `timeout` (seconds) bounds each wait for the network in one attempt. A search is tried again up
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
        options = _http_options(base_url, api_key, timeout)
        self._http = httpx.Client(**options, transport=transport)
        self._retrying = Retrying(**_retry_options(retries))

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
        body = _body(
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

    def health(self) -> Health:
        """What the service says of itself, asked once. Raises if it does not answer."""
        with _network_errors():
            response = self._http.get("readyz")
        return _read(response, _HEALTH, accepted=(200, 503))

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
        with _network_errors():
            response = self._http.post("search", json=body)
        return _read(response, _RESULT)


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
        options = _http_options(base_url, api_key, timeout)
        self._http = httpx.AsyncClient(**options, transport=transport)
        self._retrying = AsyncRetrying(**_retry_options(retries))

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
        body = _body(
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

    async def health(self) -> Health:
        """What the service says of itself, asked once. Raises if it does not answer."""
        with _network_errors():
            response = await self._http.get("readyz")
        return _read(response, _HEALTH, accepted=(200, 503))

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
        with _network_errors():
            response = await self._http.post("search", json=body)
        return _read(response, _RESULT)


def _http_options(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    url = httpx.URL(base_url)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must look like http://host:port, not {base_url!r}")
    headers = {"Accept": "application/json"}
    if api_key is not None:
        # Caught here, as the message of a failure further down would show the key.
        if not re.fullmatch(r"[!-~]+", api_key):
            raise ValueError("api_key must be printable ASCII without spaces or line ends")
        headers["Authorization"] = f"Bearer {api_key}"
    # A proxy that the environment names cannot reach this machine's loopback.
    direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    return {"base_url": url, "headers": headers, "timeout": timeout, "mounts": direct}


def _retry_options(retries: int) -> dict[str, Any]:
    return {
        "stop": stop_after_attempt(retries + 1),
        "wait": _pause,
        "retry": retry_if_exception_type(_RETRIED),
        "reraise": True,
    }


def _pause(state: RetryCallState) -> float:
    """Seconds until the next attempt. Jitter comes on top of `Retry-After` too."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, SearchError) else None
    return min(MAX_WAIT_S, _BACKOFF(state) + (asked or 0.0))


def _body(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise ClientTimeoutError("no answer within the client's timeout") from error
    except httpx.TransportError as error:
        raise ConnectionFailedError(str(error) or type(error).__name__) from error
    except httpx.RequestError as error:
        raise UnexpectedAnswerError(str(error)) from error


def _read(
    response: httpx.Response, adapter: TypeAdapter[_T], accepted: Sequence[int] = (200,)
) -> _T:
    if response.status_code in accepted:
        with suppress(ValidationError):
            return adapter.validate_json(response.content)
    raise error_from_answer(response.status_code, response.headers, response.content)
