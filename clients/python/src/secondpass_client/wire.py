"""How requests travel: the one thing that differs between the two clients.

The calls are written once, as coroutines. Over a `BlockingWire` a coroutine never has to wait, so
`run` takes it to its end in one step, without an event loop.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

import httpx

from secondpass_client.errors import (
    ClientTimeoutError,
    ConnectionFailedError,
    InvalidRequestError,
    SearchError,
    UnexpectedAnswerError,
    error_from_answer,
)

P = ParamSpec("P")
T = TypeVar("T")


class Wire(Protocol):
    """What a call needs of the world. Network errors are raised as `SearchError`."""

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The whole answer. `options` are those of httpx."""

    def stream(self, path: str, **options: Any) -> AsyncGenerator[bytes, None]:
        """The body of the answer to a GET, in pieces. Raises if its status is not 200."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def offload(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call what may wait for a disk."""

    async def close(self) -> None:
        """Close the connections."""


class BlockingWire:
    """A `Wire` that has done its work when it returns."""

    def __init__(self, transport: httpx.BaseTransport | None, options: dict[str, Any]) -> None:
        self._http = httpx.Client(**options, transport=transport)

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _network_errors():
            return self._http.request(method, path, **options)

    async def stream(self, path: str, **options: Any) -> AsyncGenerator[bytes, None]:
        with _network_errors(), self._http.stream("GET", path, **options) as response:
            if response.status_code != 200:
                response.read()
                raise error_of(response)
            for piece in response.iter_bytes():
                yield piece

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (no event loop runs here)

    async def offload(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return function(*args, **named)

    async def close(self) -> None:
        self._http.close()


class AsyncWire:
    """A `Wire` for asyncio."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, options: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**options, transport=transport)

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        if isinstance(options.get("content"), Iterator):
            options["content"] = _unblocked(options["content"])
        with _network_errors():
            return await self._http.request(method, path, **options)

    async def stream(self, path: str, **options: Any) -> AsyncGenerator[bytes, None]:
        with _network_errors():
            async with self._http.stream("GET", path, **options) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise error_of(response)
                async for piece in response.aiter_bytes():
                    yield piece

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **named)

    async def close(self) -> None:
        await self._http.aclose()


async def _unblocked(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces; reading a file may block, so a thread does it."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def run(call: Awaitable[T]) -> T:
    """The result of a call over a `BlockingWire`."""
    try:
        next(call.__await__())
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a call over a BlockingWire has waited")


def http_options(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of an httpx client. Raises `ValueError` for a wrong address or key."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url must look like http://host:port: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must look like http://host:port, not {base_url!r}")
    headers = {"Accept": "application/json"}
    if api_key is not None:
        # Checked here because an error from httpx would show the key.
        if not re.fullmatch(r"[!-~]+", api_key):
            raise ValueError("api_key must be printable ASCII without spaces or line ends")
        headers["Authorization"] = f"Bearer {api_key}"
    # A proxy that the environment names cannot reach this machine's loopback.
    direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    return {"base_url": url, "headers": headers, "timeout": timeout, "mounts": direct}


@contextmanager
def _network_errors() -> Iterator[None]:
    """Turn what httpx raises into a `SearchError`."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise ClientTimeoutError("no answer within the client's timeout") from error
    except httpx.TransportError as error:
        raise ConnectionFailedError(str(error) or type(error).__name__) from error
    except httpx.RequestError as error:
        raise UnexpectedAnswerError(str(error)) from error
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        reason = error.reason if isinstance(error, UnicodeEncodeError) else str(error)
        raise InvalidRequestError(f"this cannot be sent: {reason}") from error


def error_of(response: httpx.Response) -> SearchError:
    """The `SearchError` of an answer."""
    return error_from_answer(response.status_code, response.headers, response.content)
