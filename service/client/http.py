"""How the clients speak HTTP: addresses, bodies, errors and when to try again."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError
from tenacity import (
    BaseRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from service.client.errors import (
    ClientTimeoutError,
    ConnectionFailedError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    SearchError,
    UnexpectedAnswerError,
    error_from_answer,
)

MAX_WAIT_S = 30.0
"""Longest wait before a retry, whatever `Retry-After` asks for."""

_RETRIED = (OverloadedError, NotReadyError, ConnectionFailedError)
_BACKOFF = wait_exponential(multiplier=0.25, max=8) + wait_random(0, 0.25)

T = TypeVar("T")
R = TypeVar("R", bound=BaseRetrying)


def http_options(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """What an httpx client is made with. Raises `ValueError` for an address or key that is none."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url must look like http://host:port: {error}") from error
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


def retry_options(retries: int) -> dict[str, Any]:
    """When to try again, how often and after which pause, for tenacity."""
    return {
        "stop": stop_after_attempt(retries + 1),
        "wait": _pause,
        "retry": retry_if_exception_type(_RETRIED),
        "reraise": True,
    }


def unless_lost(retrying: R) -> R:
    """For what must not be done twice: no other attempt where the answer may have been lost.

    What a proxy says in the service's place tells nothing of what the service did.
    """
    return retrying.copy(retry=retry_if_exception(_turned_away))


def for_so_long(retrying: R, seconds: float) -> R:
    """Try again until `seconds` are over, however often: a server that restarts comes back."""
    return retrying.copy(stop=stop_after_delay(seconds), retry=retry_if_exception(_is_away))


def _turned_away(error: BaseException) -> bool:
    return isinstance(error, OverloadedError | NotReadyError) and error.from_service


def _is_away(error: BaseException) -> bool:
    if isinstance(error, (*_RETRIED, ClientTimeoutError)):
        return True
    return isinstance(error, SearchError) and error.status in {502, 504}  # a proxy's


def in_collection(collection: str | None, *parts: str) -> str:
    """The path of something in a collection, None for the default one."""
    if collection is not None:
        parts = ("collections", collection, *parts)
    return path(*parts)


def path(*parts: str) -> str:
    """The path of these parts, each quoted."""
    return "/".join(map(_quoted, parts))


def _quoted(part: str) -> str:
    if not part:
        # The path would be another one's: that of all documents in place of one.
        empty = {"field": "id", "message": "an id or name must not be empty"}
        raise InvalidRequestError("this cannot be sent", details=[empty])
    # Dots alone would be taken for a way through folders.
    dots = part in {".", ".."}
    return part.replace(".", "%2E") if dots else quote(part, safe="", errors="surrogatepass")


def _pause(state: RetryCallState) -> float:
    """Seconds until the next attempt. Jitter comes on top of `Retry-After` too."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, SearchError) else None
    return min(MAX_WAIT_S, _BACKOFF(state) + (asked or 0.0))


def request_body(**fields: object) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def pairs_body(pairs: Sequence[tuple[str, str]], timeout_ms: int | None) -> dict[str, Any]:
    """The body of `POST /similarity`."""
    return request_body(pairs=[{"a": a, "b": b} for a, b in pairs], timeout_ms=timeout_ms)


@contextmanager
def network_errors() -> Iterator[None]:
    """Turn what httpx raises into what the clients raise."""
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


def read(response: httpx.Response, adapter: TypeAdapter[T], accepted: Sequence[int] = (200,)) -> T:
    """The answer as a record; raises the `SearchError` that it stands for otherwise."""
    if response.status_code in accepted:
        with suppress(ValidationError):
            return adapter.validate_json(response.content)
    raise error_from_answer(response.status_code, response.headers, response.content)
