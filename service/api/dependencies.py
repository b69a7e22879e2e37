"""What routes ask for.

All of it is `async`: FastAPI sends a plain function through a thread, which costs more than the
function itself.
"""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.keys import is_known
from service.api.state import ServerState
from service.errors import NotAvailableError, NotReadyError
from service.index.catalog import NAME_PATTERN
from service.pipeline.collections import Collections
from service.pipeline.engine import Engine
from service.pipeline.jobs import Jobs
from service.pipeline.live_collection import LiveCollection

bearer = HTTPBearer(auto_error=False, description="An API key, where the server asks for one.")


async def server_state(request: Request) -> ServerState:
    """What this application holds."""
    return cast(ServerState, request.app.state.server)


async def engine(state: Annotated[ServerState, Depends(server_state)]) -> Engine:
    """The loaded engine; raises `NotReadyError` while there is none."""
    return state.require_engine()


async def require_key(
    state: Annotated[ServerState, Depends(server_state)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    """Let pass who holds one of the accepted keys, or everybody where none is set."""
    hashes = state.settings.api_key_hashes
    if hashes and not (credentials and is_known(credentials.credentials, hashes)):
        raise HTTPException(
            401,
            "a valid API key is needed: Authorization: Bearer <key>",
            {"WWW-Authenticate": "Bearer"},
        )


async def require_json(request: Request) -> None:
    """Refuse a body that is not declared to be JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise HTTPException(415, "the body must be JSON: content-type: application/json")


StateDep = Annotated[ServerState, Depends(server_state)]
EngineDep = Annotated[Engine, Depends(engine)]


async def collection_in_path(
    name: Annotated[
        str,
        Path(
            description="A collection or an alias.",
            examples=["default"],
            json_schema_extra={"pattern": f"^{NAME_PATTERN}$"},
        ),
    ],
) -> None:
    """Describe the path parameter of what stands under `/collections/{name}`."""


async def collection(request: Request, engine: EngineDep) -> LiveCollection:
    """The collection that the path names, or the default one; raises `NotFoundError`."""
    name = request.path_params.get("name")
    return engine.collection() if name is None else engine.collection(name)


async def jobs(engine: EngineDep) -> Jobs:
    """The bulk jobs; raises `NotAvailableError` where none are run."""
    if engine.jobs is None:
        raise NotAvailableError("this server runs no bulk jobs")
    return engine.jobs


async def collections(state: StateDep) -> Collections:
    """What changes the collections; raises `NotReadyError` while they are loading."""
    state.require_engine()
    if state.collections is None:
        raise NotReadyError("models and index are still loading")
    return state.collections


async def streaming(state: StateDep) -> AsyncIterator[None]:
    """Hold a permit to follow events while the answer lasts; raises `OverloadedError`."""
    with state.streams.permit():
        yield


async def changing(state: StateDep) -> AsyncIterator[None]:
    """Hold a permit to change collections; raises `OverloadedError`."""
    with state.changes.permit():
        yield


CollectionsDep = Annotated[Collections, Depends(collections)]
JobsDep = Annotated[Jobs, Depends(jobs)]
CollectionDep = Annotated[LiveCollection, Depends(collection)]
