"""Answers to what never reaches the application: no HTTP, too many connections, a late head."""

import http
import logging
import uuid

from starlette.responses import Response

from service.api.errors import error_response

log = logging.getLogger(__name__)


def refusal(status: int, message: str, request_id: str | None = None) -> Response:
    """The error envelope, after which the connection ends; the log gets its id."""
    request_id = request_id or uuid.uuid4().hex
    log.info("a request was refused: %d, %s; %s", status, message, request_id)
    headers = {"X-Request-ID": request_id, "Connection": "close"}
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "2"
    return error_response(status, message, request_id, headers=headers)


def on_the_wire(response: Response) -> bytes:
    """A response with its head, for a connection that has no request under way."""
    head = [f"HTTP/1.1 {response.status_code} {http.HTTPStatus(response.status_code).phrase}"]
    head += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
    return "\r\n".join([*head, "", ""]).encode() + bytes(response.body)
