"""What every call has in common: path, attempts, and the record that an answer becomes."""

import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import httpx

from secondpass_client.errors import (
    ClientTimeoutError,
    ConnectionFailedError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    SearchError,
)
from secondpass_client.wire import Wire, error_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_PAUSE_S = 30.0
"""Longest pause before a retry, whatever `Retry-After` asks for."""

_ADAPTERS: "dict[type, TypeAdapter[Any]]" = {}
_PASSING = (OverloadedError, NotReadyError, ConnectionFailedError)

Again = Callable[[SearchError], bool]
"""Whether another attempt may help after this error."""

T = TypeVar("T")


class Calls:
    """The base of all calls."""

    def __init__(self, wire: Wire, collection: str | None, retries: int) -> None:
        self._wire, self._collection, self._retries = wire, collection, retries

    def _path(self, collection: str | None, *parts: str) -> str:
        """The path of a part of a collection: the call's, the client's or the default one."""
        name = collection or self._collection
        return path_of(*parts) if name is None else path_of("collections", name, *parts)

    async def _ask(
        self, kind: type[T], method: str, path: str, *, part: str | None = None, **options: Any
    ) -> T:
        """The answer, or a `part` of it, as a record; `options` are those of `_send`."""
        return parsed(kind, await self._send(method, path, **options), part)

    async def _send(
        self, method: str, path: str, *, again: Again | None = None, **options: Any
    ) -> httpx.Response:
        """The answer. `again` says after which errors to try again: `passing` if left out."""
        return await self._retry(lambda: self._attempt(method, path, **options), again or passing)

    async def _attempt(
        self, method: str, path: str, *, accepted: Sequence[int] = (200,), **options: Any
    ) -> httpx.Response:
        """The answer to one request. Raises the `SearchError` of any other status."""
        response = await self._wire.send(method, path, **options)
        if response.status_code not in accepted:
            raise error_of(response)
        return response

    async def _retry(
        self, once: Callable[[], Awaitable[T]], again: Again, *, patience: float | None = None
    ) -> T:
        """Try up to `retries` times more, or for `patience` seconds; raises the last error."""
        attempt, began = 0, time.monotonic()
        while True:
            try:
                return await once()
            except SearchError as error:
                waited = time.monotonic() - began
                is_last = attempt >= self._retries if patience is None else waited >= patience
                if is_last or not again(error):
                    raise
                pause = _pause(attempt, error.retry_after_s)
            await self._wire.sleep(pause)
            attempt += 1


def passing(error: SearchError) -> bool:
    """For what may be done twice: the server is busy, loading, or out of reach."""
    return isinstance(error, _PASSING)


def turned_away(error: SearchError) -> bool:
    """For what must not be done twice: the service itself refused, so nothing was done.

    A lost answer, or a proxy's, does not tell whether the service did it.
    """
    return isinstance(error, OverloadedError | NotReadyError) and error.from_service


def away(error: SearchError) -> bool:
    """For a server that restarts: also what a proxy says meanwhile."""
    return isinstance(error, (*_PASSING, ClientTimeoutError)) or error.status in {502, 504}


def never(_error: SearchError) -> bool:
    """For what can be done once only."""
    return False


def path_of(*parts: str) -> str:
    """The path of these parts, each quoted. Raises `InvalidRequestError` for an empty one."""
    return "/".join(map(_quoted, parts))


def _quoted(part: str) -> str:
    if not part:
        # The path would be another one: all documents in place of one.
        empty = {"field": "id", "message": "an id or name must not be empty"}
        raise InvalidRequestError("this cannot be sent", details=[empty])
    # Dots alone would be read as a way through folders.
    dots = part in {".", ".."}
    return part.replace(".", "%2E") if dots else quote(part, safe="", errors="surrogatepass")


def parsed(kind: type[T], response: httpx.Response, part: str | None = None) -> T:
    """The answer, or a `part` of it, as a record. Raises `SearchError` if it is not one."""
    try:
        if part is None:
            return adapter(kind).validate_json(response.content)
        whole = adapter(dict[str, Any]).validate_json(response.content)
        return adapter(kind).validate_python(whole[part])
    except (ValueError, KeyError):
        raise error_of(response) from None


def adapter(kind: type[T]) -> "TypeAdapter[T]":
    """Reads records of this kind, or raises `ValueError`.

    pydantic is imported at the first use, because it takes half of the client's import time.
    """
    from pydantic import TypeAdapter  # noqa: PLC0415

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def json_bytes(value: Mapping[str, Any], errors: str = "strict") -> bytes:
    """JSON in UTF-8."""
    text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors=errors)


def given(**fields: object) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _pause(attempt: int, retry_after_s: float | None) -> float:
    """Seconds until the next attempt. The jitter comes on top of `Retry-After` too."""
    backoff = 0.25 * (1 << min(attempt, 5)) + random.uniform(0, 0.25)  # noqa: S311 (jitter)
    return min(MAX_PAUSE_S, backoff + (retry_after_s or 0.0))
