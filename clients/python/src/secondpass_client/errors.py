"""What the clients raise: a `SearchError` for each `code` of the service's error envelope, and for
answers that are not the service's, failed connections and time-outs.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = [
    "BadRequestError",
    "BodyTooLargeError",
    "ClientTimeoutError",
    "ConflictError",
    "ConnectionFailedError",
    "CursorExpiredError",
    "DeadlineExceededError",
    "DiskFullError",
    "ForbiddenError",
    "HeadTooLargeError",
    "InternalError",
    "InvalidRequestError",
    "MethodNotAllowedError",
    "MisdirectedRequestError",
    "NotAvailableError",
    "NotFoundError",
    "NotReadyError",
    "NotSupportedError",
    "OverloadedError",
    "PreconditionFailedError",
    "RequestTimeoutError",
    "SearchError",
    "StoreFailedError",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
    "VersionNotSupportedError",
]

_SHOWN = 3
"""Details that the text of an error shows."""


class SearchError(Exception):
    """The service refused, failed or could not be asked.

    `code` is the service's word for it, `status` the HTTP status (None without an answer).
    `details` are the fields at fault, with a message each. `retry_after_s` is what the server asked
    for, if it did. `from_service` is False where a proxy may have answered in the service's place:
    what was asked may then have been done.
    """

    code = "error"
    usual_status: int | None = None

    def __init_subclass__(cls, code: str | None = None, status: int | None = None) -> None:
        if code is not None:
            cls.code, cls.usual_status = code, status

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        details: Sequence[Mapping[str, str]] = (),
        retry_after_s: float | None = None,
        from_service: bool = False,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.request_id = message, status, request_id
        self.code = code or type(self).code
        self.details, self.retry_after_s = list(details), retry_after_s
        self.from_service = from_service

    def __str__(self) -> str:
        parts = [self.code, *_without_details(self.message, self.details)]
        if self.details:
            parts.append("; ".join(map(_reason, self.details[:_SHOWN])))
        said = ": ".join(parts)
        return f"{said} (request {self.request_id})" if self.request_id else said


class InvalidRequestError(SearchError, code="invalid_request", status=422):
    """A field is wrong; `details` says which."""


class BadRequestError(SearchError, code="bad_request", status=400):
    """What arrived is not valid HTTP."""


class UnauthorizedError(SearchError, code="unauthorized", status=401):
    """The server wants an API key, or another one."""


class ForbiddenError(SearchError, code="forbidden", status=403):
    """The API key does not allow it: it lacks a scope, a collection or a document."""


class NotFoundError(SearchError, code="not_found", status=404):
    """There is no such document, collection or path; `base_url` may be wrong."""


class MethodNotAllowedError(SearchError, code="method_not_allowed", status=405):
    """The path is there for another method."""


class RequestTimeoutError(SearchError, code="request_timeout", status=408):
    """The request did not arrive in time."""


class MisdirectedRequestError(SearchError, code="misdirected_request", status=421):
    """The server does not know the name in `base_url`: see its setting `allowed_hosts`."""


class HeadTooLargeError(SearchError, code="head_too_large", status=431):
    """Request line and headers are larger than the server takes."""


class NotSupportedError(SearchError, code="not_implemented", status=501):
    """The server does not know a transfer coding; a proxy may have added it."""


class VersionNotSupportedError(SearchError, code="version_not_supported", status=505):
    """The server does not know this version of HTTP; a proxy may have chosen it."""


class NotAvailableError(SearchError, code="not_available", status=409):
    """The server was not set up for this; asking again will not help."""


class CursorExpiredError(SearchError, code="cursor_expired", status=410):
    """The pages of the search are no longer kept; search again with `offset`."""


class ConflictError(SearchError, code="conflict"):
    """What is there does not allow it, such as a name that is taken."""


class PreconditionFailedError(SearchError, code="precondition_failed", status=412):
    """The document has another version than the one asked for."""


class BodyTooLargeError(SearchError, code="body_too_large", status=413):
    """The request is larger than the server takes."""


class UnsupportedMediaTypeError(SearchError, code="unsupported_media_type", status=415):
    """The server wants JSON."""


class OverloadedError(SearchError, code="overloaded", status=429):
    """The server's queue was full, at each attempt."""


class InternalError(SearchError, code="internal", status=500):
    """The server failed; its log has the `request_id`."""


class NotReadyError(SearchError, code="not_ready", status=503):
    """Models or index were not loaded, at each attempt."""


class DeadlineExceededError(SearchError, code="deadline_exceeded", status=504):
    """`timeout_ms` ran out before the server had an answer."""


class StoreFailedError(SearchError, code="store_failed"):
    """The server cannot read or write its store; its log has the `request_id`."""


class DiskFullError(SearchError, code="disk_full", status=507):
    """The server's disk is full; it has lost nothing, and not done what was asked."""


class UnexpectedAnswerError(SearchError, code="unexpected_answer"):
    """An answer that is not this service's, or that this client cannot read."""


class ConnectionFailedError(SearchError, code="connection_failed"):
    """The server could not be reached or hung up, at each attempt."""


class ClientTimeoutError(SearchError, code="client_timeout"):
    """No answer within the client's `timeout`."""


_BY_CODE = {kind.code: kind for kind in SearchError.__subclasses__()}
_BY_STATUS = {kind.usual_status: kind for kind in _BY_CODE.values() if kind.usual_status}


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes) -> SearchError:
    """The exception for an answer that is no success. `headers` must ignore case."""
    envelope = _envelope(body)
    kind = _BY_CODE.get(envelope.get("code", "")) or _BY_STATUS.get(status)
    if kind is None:
        kind = SearchError if envelope else UnexpectedAnswerError
    message = f"HTTP {status} with a body that is not this service's"
    return kind(
        **_told(envelope, message),
        status=status,
        request_id=envelope.get("request_id") or headers.get("X-Request-ID"),
        retry_after_s=_retry_after(headers.get("Retry-After", "")),
        from_service=bool(envelope),
    )


def error_from_content(content: Mapping[str, Any]) -> SearchError:
    """The exception for the content of an envelope that replaces a part of an answer."""
    kind = _BY_CODE.get(str(content.get("code", "")), SearchError)
    return kind(
        **_told(content, "no reason was given"),
        status=kind.usual_status,
        request_id=content.get("request_id"),
    )


def _reason(detail: Mapping[str, str]) -> str:
    """The field and what is wrong with it; a message that begins with the field says both."""
    field, message = str(detail.get("field")), str(detail.get("message"))
    return message if message.startswith(f"{field} ") else f"{field}: {message}"


def _without_details(message: str, details: Sequence[Mapping[str, str]]) -> list[str]:
    """The message without the fields or the reason that the details say too; [] for none left."""
    if len(details) == 1 and details[0].get("message") == message:
        return []
    head, _, fields = message.rpartition(": ")
    named = {str(detail.get("field")) for detail in details[:_SHOWN]}
    return [head] if head and named and set(fields.split(", ")) <= named else [message]


def _told(content: Mapping[str, Any], otherwise: str) -> dict[str, Any]:
    details = content.get("details")
    return {
        "message": str(content.get("message", otherwise)),
        "code": content.get("code"),
        "details": [d for d in details if isinstance(d, dict)] if isinstance(details, list) else (),
    }


def _envelope(body: bytes) -> dict[str, Any]:
    """The content of the error envelope; empty where the body is none."""
    try:
        content = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("code"), str) else {}


def _retry_after(value: str) -> float | None:
    """Seconds from now, given as such or as an HTTP date; None for neither."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    # An HTTP date is in GMT, whatever the parser makes of its zone.
    return max(0.0, (moment.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
