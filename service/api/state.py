"""What an application holds while it runs, and how routes ask for it.

What routes ask for is `async`: FastAPI runs a plain function in a thread, which costs more than the
function itself.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Annotated, NamedTuple, cast

from fastapi import Depends, Request

from service.api.auth import ApiCaller, Keys
from service.api.connections import Phase
from service.api.metrics import Metrics, Rows
from service.engine.bulk_jobs import Jobs
from service.engine.collection_admin import Collections
from service.engine.engine import Engine
from service.engine.live_collection import LiveCollection
from service.errors import NotAvailableError, NotReadyError, SecondpassError, StoreError
from service.scheduling.gate import Gate, Turnstile
from service.settings import Settings
from service.store.catalog import DEFAULT
from service.store.spool_space import SpoolSpace

log = logging.getLogger(__name__)

MIB = 1 << 20
MOST_CHANGES = 8
MOST_ARCHIVES = 16
"""Archives that are received or wait to be restored."""
MOST_RESTORES = 4
MOST_SNAPSHOTS = 4
LARGEST_BODIES = 8
"""Bodies of the largest size that memory holds at once; a client may have two of them."""

MOST_STREAMS = 64
"""Each reads its job four times a second."""


class ServerState:
    """Settings, metrics, and the engine once it is loaded."""

    def __init__(
        self, settings: Settings, load: Callable[[], Engine], phase: Phase | None = None
    ) -> None:
        self.settings, self.phase = settings, phase or Phase()
        self.keys = Keys(settings)
        self.metrics = Metrics()
        self.reads = Gate(settings.max_queue, "reads")
        self.writes = Gate(settings.max_queue, "writes")
        bodies = max(1, LARGEST_BODIES * settings.max_documents_body_bytes // MIB)
        self.bodies = Gate(bodies, "MiB of request bodies")
        self.streams = Gate(MOST_STREAMS, "event streams")
        self.changes = Gate(MOST_CHANGES, "changes of collections")
        self.restores = Gate(MOST_RESTORES, "restores")
        self.archives = Gate(MOST_ARCHIVES, "archives")
        self.spooling = Turnstile(MOST_RESTORES)
        self.spool_space = SpoolSpace(settings.data_dir)
        self.snapshots = Gate(MOST_SNAPSHOTS, "snapshots")
        self.engine: Engine | None = None
        self.collections: Collections | None = None
        self.failed = False
        self._load = load
        self._opened: Engine | None = None
        """The engine as soon as it is open, so that `close` closes it even if the start fails."""

    @asynccontextmanager
    async def running(self, on_failure: Callable[[], None] | None) -> AsyncIterator[None]:
        """Load the engine in a thread meanwhile, and close everything at the end."""
        loading = asyncio.create_task(self._run_load(on_failure))
        yield
        await loading
        self.close()

    def close(self) -> None:
        if self.collections is not None:
            self.collections.close()
        if self._opened is not None:
            self._opened.close()

    async def _run_load(self, on_failure: Callable[[], None] | None) -> None:
        """Load; a failure goes to the log, and `/readyz` reports it."""
        try:
            engine = self._opened = await asyncio.to_thread(self._load)
            self.collections = Collections(engine, self.settings)
            await asyncio.to_thread(self.collections.resume)
            self.engine = engine
        except SecondpassError as error:
            self.failed = True
            log.error("cannot start: %s", error)
        except Exception:
            self.failed = True
            log.exception("cannot start")
        else:
            log.info("ready: %d documents, %d passages", engine.documents, engine.passages)
            self._measure(engine)
        self.phase.loaded = True
        if self.failed and on_failure:
            on_failure()

    def _measure(self, engine: Engine) -> None:
        def jobs() -> float:
            try:
                return engine.jobs.waiting if engine.jobs else 0
            except StoreError as error:
                log.error("the metric of the jobs: %s", error)
                return math.nan

        self.metrics.jobs.set_function(jobs)
        self.metrics.count_documents(lambda: _documents(engine))
        self.metrics.measure_drift(lambda: _drift(engine))
        self.metrics.in_flight.set_function(lambda: engine.searcher.in_flight)
        self.metrics.cached_answers.set_function(lambda: len(engine.searcher.answers or ()))


def _documents(engine: Engine) -> Rows:
    for name, collection in sorted(engine.collections.items()):
        try:
            with collection.folder.store.view() as store:
                indexed, (staged, failed) = store.counts.documents, store.unseen
        except StoreError as error:
            log.error("the metric of the documents of %s: %s", name, error)
            continue
        yield name, {"indexed": indexed, "staged": staged, "failed": failed}


def _drift(engine: Engine) -> Rows:
    for name, collection in sorted(engine.collections.items()):
        yield name, dict(collection.searcher.drift.indices())


async def server_state(request: Request) -> ServerState:
    return cast(ServerState, request.app.state.server)


StateDep = Annotated[ServerState, Depends(server_state)]


async def engine(state: StateDep) -> Engine:
    """The loaded engine; raises `NotReadyError` while there is none."""
    if state.engine is None:
        raise NotReadyError("models and index are still loading")
    return state.engine


EngineDep = Annotated[Engine, Depends(engine)]


async def collection(request: Request, engine: EngineDep) -> LiveCollection:
    """The collection that the path names, or the default one.

    Raises `NotFoundError`, and `ForbiddenError` where the key does not allow it.
    """
    name = request.path_params.get("name", DEFAULT)
    caller_in(request).require_collection(name, engine.folder.catalog)
    found = engine.collection(name)
    request.state.collection = found.name  # for the log
    return found


async def jobs(engine: EngineDep) -> Jobs:
    """The bulk jobs; raises `NotAvailableError` if the server runs none."""
    if engine.jobs is None:
        raise NotAvailableError("this server runs no bulk jobs")
    return engine.jobs


async def collections(state: StateDep) -> Collections:
    """The owner of all collections; raises `NotReadyError` while they are loading."""
    if state.engine is None or state.collections is None:
        raise NotReadyError("models and index are still loading")
    return state.collections


def caller_in(request: Request) -> ApiCaller:
    """Who sent the request."""
    return cast(ApiCaller, request.state.caller)


async def caller(request: Request) -> ApiCaller:
    """As `caller_in`."""
    return caller_in(request)


async def request_id(request: Request) -> str:
    """The id that the middleware gave this request."""
    return cast(str, request.state.request_id)


async def permit(request: Request) -> ExitStack:
    """The permit that the request holds by its route's `gate`; `close` gives it back early."""
    return cast(ExitStack, request.state.permit)


class Asked(NamedTuple):
    """What a request asks, and where: one dependency, as each costs a search time."""

    request_id: str
    collection: LiveCollection
    state: ServerState
    caller: ApiCaller


async def asked(request: Request) -> Asked:
    """As `request_id`, `collection`, `server_state` and `caller`."""
    state = await server_state(request)
    found = await collection(request, await engine(state))
    return Asked(await request_id(request), found, state, caller_in(request))


AskedDep = Annotated[Asked, Depends(asked)]
CallerDep = Annotated[ApiCaller, Depends(caller)]
CollectionDep = Annotated[LiveCollection, Depends(collection)]
CollectionsDep = Annotated[Collections, Depends(collections)]
JobsDep = Annotated[Jobs, Depends(jobs)]
PermitDep = Annotated[ExitStack, Depends(permit)]
RequestIdDep = Annotated[str, Depends(request_id)]
