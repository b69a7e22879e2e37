"""What routes ask for.

All of it is `async`: FastAPI sends a plain function through a thread, which costs more than the
function itself.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, cast

from fastapi import Depends, Path, Request

from service.api.state import ServerState
from service.engine.bulk_jobs import Jobs
from service.engine.engine import Engine
from service.engine.live_collection import LiveCollection
from service.engine.open_collections import Collections
from service.errors import NotAvailableError, NotReadyError
from service.store.catalog import NAME_PATTERN


async def server_state(request: Request) -> ServerState:
    """What this application holds."""
    return cast(ServerState, request.app.state.server)


async def engine(state: Annotated[ServerState, Depends(server_state)]) -> Engine:
    """The loaded engine; raises `NotReadyError` while there is none."""
    return state.require_engine()


def request_id(request: Request) -> str:
    """The id that the middleware gave this request."""
    value: str = request.state.request_id
    return value


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
    """Describe the path parameter of the paths under `/collections/{name}`."""


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


async def permit(request: Request) -> ExitStack:
    """What the request holds by its route's `gate`; `close` lets another one in."""
    return cast(ExitStack, request.state.permit)


CollectionsDep = Annotated[Collections, Depends(collections)]
JobsDep = Annotated[Jobs, Depends(jobs)]
CollectionDep = Annotated[LiveCollection, Depends(collection)]
PermitDep = Annotated[ExitStack, Depends(permit)]
