"""What the clients raise: a `SearchError` for each `code` of the service's error envelope, and for
answers that are not the service's, failed connections and time-outs.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

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


class InvalidRequestError(SearchError):
    """A field is wrong; `details` says which."""

    code, usual_status = "invalid_request", 422


class BadRequestError(SearchError):
    """What arrived is not valid HTTP."""

    code, usual_status = "bad_request", 400


class UnauthorizedError(SearchError):
    """The server wants an API key, or another one."""

    code, usual_status = "unauthorized", 401


class NotFoundError(SearchError):
    """There is no such document, collection or path; `base_url` may be wrong."""

    code, usual_status = "not_found", 404


class MethodNotAllowedError(SearchError):
    """The path is there for another method."""

    code, usual_status = "method_not_allowed", 405


class RequestTimeoutError(SearchError):
    """The request did not arrive in time."""

    code, usual_status = "request_timeout", 408


class MisdirectedRequestError(SearchError):
    """The server does not know the name in `base_url`: see its setting `allowed_hosts`."""

    code, usual_status = "misdirected_request", 421


class HeadTooLargeError(SearchError):
    """Request line and headers are larger than the server takes."""

    code, usual_status = "head_too_large", 431


class NotSupportedError(SearchError):
    """The server does not know a transfer coding; a proxy may have added it."""

    code, usual_status = "not_implemented", 501


class VersionNotSupportedError(SearchError):
    """The server does not know this version of HTTP; a proxy may have chosen it."""

    code, usual_status = "version_not_supported", 505


class NotAvailableError(SearchError):
    """The server was not set up for this; asking again will not help."""

    code, usual_status = "not_available", 409


class ConflictError(SearchError):
    """What is there does not allow it, such as a name that is taken."""

    code = "conflict"


class PreconditionFailedError(SearchError):
    """The document has another version than the one asked for."""

    code, usual_status = "precondition_failed", 412


class BodyTooLargeError(SearchError):
    """The request is larger than the server takes."""

    code, usual_status = "body_too_large", 413


class UnsupportedMediaTypeError(SearchError):
    """The server wants JSON."""

    code, usual_status = "unsupported_media_type", 415


class OverloadedError(SearchError):
    """The server's queue was full, at each attempt."""

    code, usual_status = "overloaded", 429


class InternalError(SearchError):
    """The server failed; its log has the `request_id`."""

    code, usual_status = "internal", 500


class NotReadyError(SearchError):
    """Models or index were not loaded, at each attempt."""

    code, usual_status = "not_ready", 503


class DeadlineExceededError(SearchError):
    """`timeout_ms` ran out before the server had an answer."""

    code, usual_status = "deadline_exceeded", 504


class StoreFailedError(SearchError):
    """The server cannot read or write its store; its log has the `request_id`."""

    code = "store_failed"


class DiskFullError(SearchError):
    """The server's disk is full; it has lost nothing, and not done what was asked."""

    code, usual_status = "disk_full", 507


class UnexpectedAnswerError(SearchError):
    """An answer that is not this service's, or that this client cannot read."""

    code = "unexpected_answer"


class ConnectionFailedError(SearchError):
    """The server could not be reached or hung up, at each attempt."""

    code = "connection_failed"


class ClientTimeoutError(SearchError):
    """No answer within the client's `timeout`."""

    code = "client_timeout"


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
    """The exception for the content of an envelope that stands for a part of an answer."""
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
