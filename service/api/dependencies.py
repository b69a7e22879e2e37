"""What routes ask for."""

from typing import Annotated, cast

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.keys import is_known
from service.api.state import ServerState
from service.pipeline.engine import Engine

_bearer = HTTPBearer(auto_error=False, description="An API key, where the server asks for one.")


def server_state(request: Request) -> ServerState:
    """What this application holds."""
    return cast(ServerState, request.app.state.server)


def engine(state: Annotated[ServerState, Depends(server_state)]) -> Engine:
    """The loaded engine; raises `NotReadyError` while there is none."""
    return state.require_engine()


def require_key(
    state: Annotated[ServerState, Depends(server_state)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let pass who holds one of the accepted keys, or everybody where none is set."""
    hashes = state.settings.api_key_hashes
    if hashes and not (credentials and is_known(credentials.credentials, hashes)):
        raise HTTPException(
            401,
            "a valid API key is needed: Authorization: Bearer <key>",
            {"WWW-Authenticate": "Bearer"},
        )


def require_json(request: Request) -> None:
    """Refuse a body that is not declared to be JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise HTTPException(415, "the body must be JSON: content-type: application/json")


StateDep = Annotated[ServerState, Depends(server_state)]
EngineDep = Annotated[Engine, Depends(engine)]
