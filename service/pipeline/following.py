"""An engine beside the process that owns the data folder: it searches, and writes nothing."""

import logging
import threading
import time

from service.errors import NotFoundError, StoreError
from service.index.catalog import MAIN, CollectionRecord
from service.index.data_folder import DataFolder
from service.index.followed_index import FollowedIndex
from service.pipeline import garbage
from service.pipeline.engine import Engine
from service.pipeline.live_collection import LiveCollection
from service.pipeline.model_pool import ModelPool
from service.pipeline.opening import open_engine, open_into
from service.settings import Settings

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LOOK_FOR_SEARCHES_EVERY_S = 0.02


def open_following(settings: Settings, models: ModelPool | None = None) -> "Follower":
    """Load models and collections as `open_engine` does, and follow what the owner makes of them.

    No bulk jobs, no indexing. Raises as `open_engine`, but for the lock.
    """
    folder = DataFolder.follow(settings.data_dir)
    engine = open_engine(settings, jobs=False, models=models, folder=folder)
    follower = Follower(engine, settings)
    engine.closing.callback(follower.close)
    follower.start()
    return follower


class Follower:
    """Opens and closes collections as the catalog says, and lets each have its newest generation.

    That is done by a thread, so that no search waits for it. `engine` closes it.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self._settings, self._catalog = settings, engine.folder.catalog
        # Those that could not be opened too: they are not tried again and again.
        self._opened = {name: _made(name, r) for name, r in self._catalog.collections.items()}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the step under way."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def serving(self, name: str) -> LiveCollection | None:
        """The collection that a name or alias leads to at this moment.

        None where there is none, or where it is not open here, or not yet.
        """
        try:
            self._catalog.refresh()
            found = self._catalog.resolve(name)
            made = _made(found, self._catalog.collections[found])
        except (NotFoundError, StoreError, KeyError):  # KeyError: it went this very moment
            return None
        # In this order: what was open under the name before is gone once `_opened` has the new one.
        return self.engine.collections.get(found) if self._opened.get(found) == made else None

    def follow(self) -> None:
        """Catch up with the catalog and with each collection's generation. Raises `StoreError`."""
        self._catalog.refresh()
        wanted = {name: _made(name, r) for name, r in self._catalog.collections.items()}
        for name, made in list(self._opened.items()):
            if wanted.get(name) != made:
                self._let_go(name)
        for name, record in self._catalog.collections.items():
            if name not in self._opened:
                self._opened[name] = _made(name, record)  # first: one that fails fails once
                open_into(self.engine, name, record, self._settings)
        for live in self.engine.collections.values():
            index = live.searcher.retriever.index
            if isinstance(index, FollowedIndex):
                index.take_newest()

    def _run(self) -> None:
        problem = ""
        while not self._closing.wait(_LOOK_EVERY_S):
            try:
                self.follow()
            except Exception as error:  # whatever it is, later changes are to be followed
                if problem != str(error):  # once, not every second
                    log.exception("a change of the data folder cannot be followed")
                problem = str(error)

    def _let_go(self, name: str) -> None:
        del self._opened[name]
        live = self.engine.take(name)
        if live is not None:
            until = time.monotonic() + self._settings.timeout_ms / 1000
            while live.searcher.in_flight and time.monotonic() < until:
                if self._closing.is_set():
                    break
                time.sleep(_LOOK_FOR_SEARCHES_EVERY_S)
            live.close()
        self.engine.folder.close_collection(name)
        garbage.collect_frozen()


def _made(name: str, record: CollectionRecord) -> str:
    """Tells a collection from an earlier one of its name; `main` is always the same."""
    return "" if name == MAIN else record.created.isoformat()
