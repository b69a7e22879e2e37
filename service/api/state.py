"""What an application holds while it runs."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.api.connections import Phase
from service.api.metrics import Metrics
from service.engine.engine import Engine
from service.engine.open_collections import Collections
from service.errors import NotReadyError, SecondpassError, StoreError
from service.scheduling.gate import Gate, Turnstile
from service.settings import Settings

log = logging.getLogger(__name__)

MIB = 1 << 20
MOST_CHANGES = 8
MOST_ARCHIVES = 16
"""On their way to be restored."""
MOST_RESTORES = 4
MOST_SNAPSHOTS = 4
LARGEST_BODIES = 8
"""Bodies of the largest size that may be in memory together; a client may have two of them."""

MOST_STREAMS = 64
"""Each looks at its job four times a second."""


class ServerState:
    """Settings, metrics, and the engine once it is loaded."""

    def __init__(
        self, settings: Settings, load: Callable[[], Engine], phase: Phase | None = None
    ) -> None:
        self.settings, self.phase = settings, phase or Phase()
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
        self.snapshots = Gate(MOST_SNAPSHOTS, "snapshots")
        self.engine: Engine | None = None
        self.collections: Collections | None = None
        self.failed = False
        self._load = load

    @asynccontextmanager
    async def running(self, on_failure: Callable[[], None] | None) -> AsyncIterator[None]:
        """Load the engine in a thread meanwhile, and let go of all of it at the end."""
        loading = asyncio.create_task(self._run_load(on_failure))
        yield
        await loading
        self.close()

    async def _run_load(self, on_failure: Callable[[], None] | None) -> None:
        """A failure goes to the log; `/readyz` tells that it is so."""
        try:
            engine = await asyncio.to_thread(self._load)
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

    def require_engine(self) -> Engine:
        """The engine, or `NotReadyError`."""
        if self.engine is None:
            raise NotReadyError("models and index are still loading")
        return self.engine

    def close(self) -> None:
        """Let go of models, index and data folder."""
        if self.collections is not None:
            self.collections.close()
        if self.engine is not None:
            self.engine.close()

    def _measure(self, engine: Engine) -> None:
        def jobs() -> float:
            try:
                return engine.jobs.waiting if engine.jobs else 0
            except StoreError as error:
                log.error("the metric of the jobs: %s", error)
                return math.nan

        self.metrics.jobs.set_function(jobs)
        self.metrics.documents.set_function(lambda: engine.documents)
        self.metrics.in_flight.set_function(lambda: engine.searcher.in_flight)
        self.metrics.cached_answers.set_function(lambda: len(engine.searcher.answers or ()))
