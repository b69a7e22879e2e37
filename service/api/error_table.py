"""The error envelope, and the table from errors to status codes."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service import errors
from service.api.schemas.common import (
    CODES,
    CONFLICT,
    OTHER,
    STORE_FAILED,
    ErrorBody,
    ErrorContent,
    ErrorDetail,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2
"""While the server is not ready."""


class Row(NamedTuple):
    """How an error is answered."""

    status: int
    code: str | None = None
    """Replaces the status's own code."""
    message: str | None = None
    """Replaces a message that names the server's folders; the log has that one."""


class _Failure(NamedTuple):
    status: int
    body: ErrorBody
    headers: Mapping[str, str] | None = None


TABLE: dict[type[errors.SecondpassError], Row] = {
    errors.InvalidInputError: Row(422),
    errors.OverloadedError: Row(429),
    errors.NotAvailableError: Row(409),
    errors.ForbiddenError: Row(403),
    errors.NotFoundError: Row(404),
    errors.CursorExpiredError: Row(410),
    errors.VersionConflictError: Row(412),
    errors.ConflictError: Row(409, CONFLICT),
    errors.NotReadyError: Row(503),
    errors.StoreFullError: Row(
        507, message="the server's disk is full; nothing is lost, but this was not done"
    ),
    errors.StoreError: Row(
        503,
        STORE_FAILED,
        "the server's store cannot be read or written; its log has the request_id",
    ),
    errors.DeadlineError: Row(504),
}
"""The first matching row counts."""

MOST_DETAILS = 20
MOST_NAME_CHARS = 128


def install(app: FastAPI) -> None:
    """Turn every error that a route raises into the envelope."""
    for kind in (errors.SecondpassError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return response_to(error, request.scope)


def response_to(error: Exception, scope: Scope) -> JSONResponse:
    """The answer to a request that failed."""
    failure = _failure(error, scope)
    rules = getattr(scope.get("route"), "rules", None)
    if rules and rules.compatible:
        content = failure.body.error
        told = [
            f"{detail.field}: {detail.message}"
            for detail in content.details or ()
            if detail.message != content.message
        ]
        failure.body.detail = "; ".join([content.message, *told])
    return _response(failure)


def _failure(error: Exception, scope: Scope) -> _Failure:
    request_id = scope["state"]["request_id"]
    if isinstance(error, RequestValidationError):
        return _invalid(error, scope)
    if isinstance(error, HTTPException):
        if not isinstance(error.__cause__, errors.InvalidInputError):
            return _http(error, request_id)
        error = error.__cause__  # FastAPI wraps what parsing the body raises
    status, body = described(error, request_id)
    headers = {}
    if isinstance(error, errors.OverloadedError):
        headers["Retry-After"] = str(error.retry_after_s)
    return _Failure(status, body, headers)


def described(error: Exception, request_id: str) -> tuple[int, ErrorBody]:
    """Status and envelope for the error of a request, or of one search of a batch."""
    for kind, row in TABLE.items():
        if isinstance(error, kind):
            if row.message:
                log.error("request %s failed: %s", request_id, error)
            details = None
            if isinstance(error, errors.InvalidInputError) and error.field:
                details = [ErrorDetail(field=error.field, message=str(error))]
            message = row.message or str(error)
            return row.status, _envelope(row.status, message, request_id, details, row.code)
    # Unforeseen: the log gets the error, the client only its id.
    log.error("request %s failed", request_id, exc_info=error)
    message = "something went wrong on the server; the log has the request_id"
    return 500, _envelope(500, message, request_id)


def error_response(
    status: int,
    message: str,
    request_id: str,
    details: list[ErrorDetail] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return _response(_Failure(status, _envelope(status, message, request_id, details), headers))


def _envelope(
    status: int,
    message: str,
    request_id: str,
    details: list[ErrorDetail] | None = None,
    code: str | None = None,
) -> ErrorBody:
    code = code or CODES.get(status, OTHER)
    content = ErrorContent(code=code, message=message, request_id=request_id, details=details)
    return ErrorBody(error=content)


def _response(failure: _Failure) -> JSONResponse:
    headers = dict(failure.headers or {})
    if failure.body.error.code == "not_ready":
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    content = failure.body.model_dump(exclude_none=True)
    return JSONResponse(content, status_code=failure.status, headers=headers)


def _invalid(error: RequestValidationError, scope: Scope) -> _Failure:
    """Pydantic's errors without the input, which may be anything."""
    depth = scope["route"].rules.field_depth
    details = [
        ErrorDetail(
            field=_field(found["loc"], found["type"], depth)[:MOST_NAME_CHARS],
            message=_where_broken(found, error.body) or found["msg"],
        )
        for found in error.errors()[:MOST_DETAILS]
    ]
    fields = ", ".join(sorted({detail.field for detail in details}))
    request_id = scope["state"]["request_id"]
    message = f"the request is not valid: {fields}"
    return _Failure(422, _envelope(422, message, request_id, details))


def _field(location: Sequence[str | int], kind: str, depth: int) -> str:
    """`("body", "filters", "year", "int")` -> `filters.year`; the body itself is `body`."""
    if kind == "json_invalid" or len(location) < 2:
        return "body"
    return ".".join(str(part) for part in location[1 : depth + 1])


def _where_broken(found: Mapping[str, Any], body: object) -> str | None:
    """For a body that is not JSON: the place and the parser's message, which quotes no input."""
    if found["type"] != "json_invalid" or not isinstance(body, str):
        return None
    cause = json.JSONDecodeError(str(found["ctx"]["error"]), body, int(found["loc"][-1]))
    return f"not valid JSON: {cause}"


def _http(error: HTTPException, request_id: str) -> _Failure:
    if error.status_code == 400:
        # FastAPI's answer to a body that is not UTF-8 or is nested too deeply.
        broken = [ErrorDetail(field="body", message="the body is not valid JSON in UTF-8")]
        return _Failure(422, _envelope(422, "the request is not valid: body", request_id, broken))
    status = error.status_code
    return _Failure(status, _envelope(status, str(error.detail), request_id), error.headers)
