"""What an application holds while it runs."""

import asyncio
import logging
from collections.abc import Callable

from service.api.metrics import Metrics
from service.errors import NotReadyError, SecondpassError
from service.pipeline.engine import Engine
from service.settings import Settings

log = logging.getLogger(__name__)


class ServerState:
    """Settings, metrics, and the engine once it is loaded."""

    def __init__(self, settings: Settings, load: Callable[[], Engine]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.engine: Engine | None = None
        self.failed = False
        self._load = load

    async def load(self) -> None:
        """Load the engine in a thread. A failure goes to the log; `/readyz` tells that it is so."""
        try:
            self.engine = await asyncio.to_thread(self._load)
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
            self.metrics.documents.set(self.engine.documents)
            self.metrics.in_flight.set_function(self._in_flight)
            self.metrics.cached_answers.set_function(self._cached_answers)

    def require_engine(self) -> Engine:
        """The engine, or `NotReadyError`."""
        if self.engine is None:
            raise NotReadyError("models and index are still loading")
        return self.engine

    def close(self) -> None:
        """Let go of models, index and data folder."""
        if self.engine is not None:
            self.engine.close()

    def _in_flight(self) -> float:
        return float(self.engine.searcher.in_flight) if self.engine else 0.0

    def _cached_answers(self) -> float:
        answers = self.engine.searcher.answers if self.engine else None
        return float(len(answers)) if answers is not None else 0.0
