"""The one error envelope, and the one table from errors to status codes."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service import errors
from service.api.paths import RouteTable, own_path
from service.api.schemas.common import ErrorBody, ErrorCode, ErrorContent, ErrorDetail

log = logging.getLogger(__name__)

STATUS: dict[type[errors.SecondpassError], int] = {
    errors.InvalidInputError: 422,
    errors.OverloadedError: 429,
    errors.NotAvailableError: 409,
    errors.NotFoundError: 404,
    errors.VersionConflictError: 412,
    errors.ConflictError: 409,
    errors.NotReadyError: 503,
    errors.StoreFullError: 507,
    errors.StoreError: 503,
    errors.DeadlineError: 504,
}
"""The first line that fits counts."""

CODES: dict[int, ErrorCode] = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "not_available",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "misdirected_request",
    422: "invalid_request",
    429: "overloaded",
    431: "head_too_large",
    500: "internal",
    501: "not_implemented",
    503: "not_ready",
    504: "deadline_exceeded",
    505: "version_not_supported",
    507: "disk_full",
}

OWN_CODES: dict[type[errors.SecondpassError], ErrorCode] = {
    errors.ConflictError: "conflict",
    errors.StoreError: "store_failed",
}
"""Where a status has another code for some errors."""

NEUTRAL: dict[type[errors.SecondpassError], str] = {
    errors.StoreFullError: "the server's disk is full; nothing is lost, but this was not done",
    errors.StoreError: "the server's store cannot be read or written; its log has the request_id",
}
"""What is told in place of a message that names the server's folders; the log has that one."""

MOST_DETAILS = 20
MOST_NAME_CHARS = 128

INTERNAL_MESSAGE = "something went wrong on the server; the log has the request_id"


def error_response(
    status: int,
    message: str,
    request_id: str,
    details: Sequence[ErrorDetail] | None = None,
    headers: dict[str, str] | None = None,
    code: ErrorCode | None = None,
) -> JSONResponse:
    """The envelope as a response."""
    content = _content(status, message, request_id, details, code)
    return _response(status, content, headers)


def install(app: FastAPI) -> None:
    """Register the handlers that turn foreseen exceptions into the envelope.

    The others are answered by `RequestContext`.
    """
    app.add_exception_handler(errors.SecondpassError, _own)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


async def _own(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.SecondpassError):
        raise TypeError("registered for SecondpassError")
    described = _described(error, request_id(request))
    if described is None:
        raise error
    return _response(*described, _retry_after(error))


def envelope(error: Exception, request_id: str) -> ErrorBody:
    """The envelope of what went wrong with a part of a request."""
    described = _described(error, request_id)
    if described is None:
        log.error("a part of request %s failed", request_id, exc_info=error)
        described = 500, _content(500, INTERNAL_MESSAGE, request_id)
    return ErrorBody(error=described[1])


def _described(error: Exception, request_id: str) -> tuple[int, ErrorContent] | None:
    """Status and content of the envelope; None for what the table does not foresee."""
    for kind, status in STATUS.items():
        if isinstance(error, kind):
            message = NEUTRAL.get(kind)
            if message:
                log.error("request %s failed: %s", request_id, error)
            return status, _content(
                status, message or str(error), request_id, _details(error), OWN_CODES.get(kind)
            )
    return None


def _content(
    status: int,
    message: str,
    request_id: str,
    details: Sequence[ErrorDetail] | None = None,
    code: ErrorCode | None = None,
) -> ErrorContent:
    return ErrorContent(
        code=code or CODES.get(status, "error"),
        message=message,
        request_id=request_id,
        details=list(details) if details else None,
    )


def _response(
    status: int, content: ErrorContent, headers: dict[str, str] | None = None
) -> JSONResponse:
    body = ErrorBody(error=content).model_dump(exclude_none=True)
    return JSONResponse(body, status_code=status, headers=headers)


def _details(error: Exception) -> list[ErrorDetail] | None:
    if isinstance(error, errors.InvalidInputError) and error.field:
        return [ErrorDetail(field=error.field, message=str(error))]
    return None


def _retry_after(error: errors.SecondpassError) -> dict[str, str] | None:
    if isinstance(error, errors.OverloadedError):
        return {"Retry-After": str(error.retry_after_s)}
    return {"Retry-After": "2"} if isinstance(error, errors.NotReadyError) else None


async def _validation(request: Request, error: Exception) -> JSONResponse:
    """Pydantic's findings without the input, which may be anything."""
    if not isinstance(error, RequestValidationError):
        raise TypeError("registered for RequestValidationError")
    details = [
        ErrorDetail(
            field=_field(found["loc"], found["type"])[:MOST_NAME_CHARS],
            message=_where_broken(found, error.body) or found["msg"],
        )
        for found in error.errors()[:MOST_DETAILS]
    ]
    fields = ", ".join(sorted({detail.field for detail in details}))
    return error_response(422, f"the request is not valid: {fields}", request_id(request), details)


def _field(location: Sequence[str | int], kind: str) -> str:
    """`("body", "filters", "year", "int")` -> `filters.year`; the body itself is `body`."""
    if kind == "json_invalid" or len(location) < 2:
        return "body"
    path = [str(part) for part in location[1:]]
    depth = {"filters": 2, "settings": 2, "pairs": 3, "queries": 3}.get(path[0], 1)
    return ".".join(path[:depth])


def _where_broken(found: Mapping[str, Any], body: object) -> str | None:
    """Of a body that is no JSON, the place and the parser's words, which quote nothing of it."""
    if found["type"] != "json_invalid" or not isinstance(body, str):
        return None
    cause = json.JSONDecodeError(str(found["ctx"]["error"]), body, int(found["loc"][-1]))
    return f"not valid JSON: {cause}"


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException")
    if isinstance(error.__cause__, errors.InvalidInputError):
        return await _own(request, error.__cause__)  # FastAPI wraps what parsing the body raises
    if error.status_code == 400:
        # FastAPI's answer to a body that is not UTF-8 or nested too deeply: broken JSON as well.
        broken = [ErrorDetail(field="body", message="the body is not valid JSON in UTF-8")]
        return error_response(422, "the request is not valid: body", request_id(request), broken)
    headers = dict(error.headers) if error.headers else None
    if error.status_code == 405:  # the router names the methods of one route only
        table: RouteTable = request.app.state.routes
        headers = {"Allow": ", ".join(sorted(table.methods(own_path(request.scope))))}
    return error_response(
        error.status_code, str(error.detail), request_id(request), headers=headers
    )


def request_id(request: Request) -> str:
    """The id that the middleware gave this request."""
    value: str = request.scope.get("state", {}).get("request_id", "-")
    return value
