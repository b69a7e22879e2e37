"""The one error envelope, and the one table from errors to status codes."""

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service import errors
from service.api.schemas import ErrorBody, ErrorContent, ErrorDetail

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

CODES = {
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    409: "not_available",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "overloaded",
    500: "internal",
    503: "not_ready",
    504: "deadline_exceeded",
    507: "disk_full",
}

OWN_CODES: dict[type[errors.SecondpassError], str] = {
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
    code: str | None = None,
) -> JSONResponse:
    """The envelope as a response."""
    content = ErrorContent(
        code=code or CODES.get(status, "error"),
        message=message,
        request_id=request_id,
        details=list(details) if details else None,
    )
    body = ErrorBody(error=content).model_dump(exclude_none=True)
    return JSONResponse(body, status_code=status, headers=headers)


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
    for kind, status in STATUS.items():
        if isinstance(error, kind):
            message = NEUTRAL.get(kind)
            if message:
                log.error("request %s failed: %s", request_id(request), error)
            return error_response(
                status,
                message or str(error),
                request_id(request),
                _details(error),
                _retry_after(error),
                OWN_CODES.get(kind),
            )
    raise error


def _details(error: errors.SecondpassError) -> list[ErrorDetail] | None:
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
            field=_field(found["loc"], found["type"])[:MOST_NAME_CHARS], message=found["msg"]
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
    depth = {"filters": 2, "pairs": 3}.get(path[0], 1)
    return ".".join(path[:depth])


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException")
    if error.status_code == 400:
        # FastAPI's answer to a body that is not UTF-8 or nested too deeply: broken JSON as well.
        broken = [ErrorDetail(field="body", message="the body is not valid JSON in UTF-8")]
        return error_response(422, "the request is not valid: body", request_id(request), broken)
    headers = dict(error.headers) if error.headers else None
    return error_response(
        error.status_code, str(error.detail), request_id(request), headers=headers
    )


def request_id(request: Request) -> str:
    """The id that the middleware gave this request."""
    value: str = request.scope.get("state", {}).get("request_id", "-")
    return value
