"""What is wrong with a request's head, and the form that the application reads it in."""

import re
from urllib.parse import unquote

from starlette.types import Scope

MOST_HEAD_BYTES = 65_536
"""Request line and headers together."""

_WHOLE_URL = re.compile(rb"(?i:https?)://(?:[^/@]*@)?(?P<authority>[^/@]+)(?P<path>/.*)?")


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
