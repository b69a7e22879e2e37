"""The id of a request, by which the log and the client's error meet."""

import re
import uuid

from starlette.datastructures import Headers
from starlette.types import Scope

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id_for(scope: Scope) -> str:
    """The caller's id where it is well formed, a new one otherwise."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
