"""A request's head: its id, what is wrong with it, and answers that need no application."""

import http
import logging
import re
import uuid
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from service.api.error_table import error_response

log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 65_536
"""Request line and headers together."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_WHOLE_URL = re.compile(rb"(?i:https?)://(?:[^/@]*@)?(?P<authority>[^/@]+)(?P<path>/.*)?")


def request_id_for(scope: Scope) -> str:
    """The caller's id where it is well formed, a new one otherwise."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def fault(scope: Scope) -> tuple[int, str] | None:
    """Status and message for a head that is not taken, or None."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    names = {name for name, _ in headers}
    if not scope["http_version"].startswith("1."):
        return 505, "the server speaks HTTP/1.1"
    if b"transfer-encoding" in names:
        # Two readings of where such a request ends are how one is smuggled past a proxy.
        if b"content-length" in names:
            return 400, "a request has either Content-Length or Transfer-Encoding, not both"
        if scope["http_version"] == "1.0":
            return 400, "a request in HTTP/1.0 has no Transfer-Encoding"
    size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    if size + sum(len(name) + len(value) for name, value in headers) > MOST_HEAD_BYTES:
        return 431, too_large()
    return None


def too_large() -> str:
    """The message of status 431."""
    return f"request line and headers must have at most {MOST_HEAD_BYTES} bytes"


def with_path_as_target(scope: Scope) -> Scope:
    """The scope as if a target that is a whole URL had been its path alone.

    The URL's authority counts in place of the `Host` header (RFC 9112, section 3.2.2).
    """
    whole = _WHOLE_URL.fullmatch(scope["raw_path"])
    if whole is None:
        return scope
    raw_path = whole["path"] or b"/"
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "raw_path": raw_path,
        "path": unquote(raw_path.decode("ascii")),
        "headers": [(b"host", whole["authority"]), *headers],
    }


def refusal(status: int, message: str, request_id: str | None = None) -> Response:
    """The error envelope, after which the connection ends; the log gets its id.

    For what never reaches the application: no HTTP, too many connections, a late head.
    """
    request_id = request_id or uuid.uuid4().hex
    log.info("a request was refused: %d, %s; %s", status, message, request_id)
    headers = {"X-Request-ID": request_id, "Connection": "close"}
    return error_response(status, message, request_id, headers=headers)


def on_the_wire(response: Response) -> bytes:
    """A response with its head, for a connection that has no request under way."""
    head = [f"HTTP/1.1 {response.status_code} {http.HTTPStatus(response.status_code).phrase}"]
    head += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
    return "\r\n".join([*head, "", ""]).encode() + bytes(response.body)
