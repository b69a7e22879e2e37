"""What an application holds while it runs."""

import asyncio
import logging
import math
from collections.abc import Callable

from service.api.metrics import Metrics
from service.api.phase import Phase
from service.errors import NotReadyError, SecondpassError, StoreError
from service.pipeline.collections import Collections
from service.pipeline.engine import Engine
from service.pipeline.gate import Gate
from service.pipeline.turnstile import Turnstile
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

    async def load(self) -> None:
        """Load the engine in a thread. A failure goes to the log; `/readyz` tells that it is so."""
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
            log.info(
                "ready: %d documents, %d passages", self.engine.documents, self.engine.passages
            )
            self.metrics.documents.set_function(self._documents)
            self.metrics.jobs.set_function(self._jobs)
            self.metrics.in_flight.set_function(self._in_flight)
            self.metrics.cached_answers.set_function(self._cached_answers)

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

    def _documents(self) -> float:
        return float(self.engine.documents) if self.engine else 0.0

    def _jobs(self) -> float:
        try:
            return float(self.engine.jobs.waiting) if self.engine and self.engine.jobs else 0.0
        except StoreError as error:
            log.error("the metric of the jobs: %s", error)
            return math.nan

    def _in_flight(self) -> float:
        return float(self.engine.searcher.in_flight) if self.engine else 0.0

    def _cached_answers(self) -> float:
        answers = self.engine.searcher.answers if self.engine else None
        return float(len(answers)) if answers is not None else 0.0
