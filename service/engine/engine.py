"""A running search service: its data folder, models, collections and bulk jobs."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from service.engine.bulk_jobs import Jobs, Target
from service.engine.collection_settings import settings_of
from service.engine.job_work import Work
from service.engine.live_collection import LiveCollection, open_collection
from service.engine.model_pool import ModelPool
from service.errors import (
    IndexMismatchError,
    InvalidInputError,
    ModelError,
    NotFoundError,
    NotReadyError,
    SecondpassError,
    StoreError,
)
from service.search.pair_model import PairModel
from service.search.searcher import Searcher
from service.settings import Settings
from service.store.catalog import DEFAULT, MAIN, CollectionRecord
from service.store.data_folder import DataFolder
from service.store.job_store import JobKind
from service.text import language

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine:
    """Models, collections and data folder, loaded.

    `pair_model` and `jobs` are None if they are not wanted. `unavailable` says why a collection
    could not be opened. `closing` is closed first.
    """

    folder: DataFolder
    collections: dict[str, LiveCollection] = field(default_factory=dict)
    pair_model: PairModel | None = None
    jobs: Jobs | None = None
    models: ModelPool = field(default_factory=ModelPool)
    unavailable: dict[str, str] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)
    _logged: dict[str, str] = field(default_factory=dict)

    def collection(self, name: str = DEFAULT) -> LiveCollection:
        """The collection that a name or alias leads to.

        Raises `NotFoundError`, and `NotReadyError` if it could not be opened.
        """
        found = self.folder.catalog.resolve(name)
        if found in self.unavailable:
            raise NotReadyError(f"the collection {found!r} is not open: {self.unavailable[found]}")
        try:
            return self.collections[found]
        except KeyError as error:  # removed a moment ago
            raise NotFoundError(f"there is no collection {name!r}") from error

    def put(self, collection: LiveCollection) -> None:
        """Let requests find the collection once the catalog names it."""
        self.collections = {**self.collections, collection.name: collection}

    def take(self, name: str) -> LiveCollection | None:
        """Hide the collection from later requests and return it; None if it was not open."""
        self.unavailable = {n: why for n, why in self.unavailable.items() if n != name}
        taken = self.collections.get(name)
        self.collections = {n: c for n, c in self.collections.items() if n != name}
        return taken

    def target(self, name: str) -> Target:
        """The collection of this name (not an alias) for a bulk job. Raises as `collection`."""
        record = self.folder.catalog.collections.get(name)
        if record is None:
            raise NotFoundError(f"there is no collection {name!r}")
        collection = self.collection(name)
        made = "" if name == MAIN else record.created.isoformat()  # `main` is never made again
        return Target(made, collection.folder.store, collection.ingestor, collection.indexer.wake)

    @property
    def searcher(self) -> Searcher:
        return self.collection().searcher

    @property
    def notes(self) -> list[str]:
        """What an operator should know."""
        notes = [
            note if name == MAIN or len(self.collections) == 1 else f"{name}: {note}"
            for name, collection in self.collections.items()
            for note in [*collection.notes, *collection.indexer.problems]
        ]
        notes += self.jobs.notes if self.jobs else []
        return notes + [f"{name}: not open: {why}" for name, why in self.unavailable.items()]

    @property
    def backends(self) -> Mapping[str, str]:
        """What runs the encoder for queries and for passages."""
        return self.searcher.encoder.backends

    @property
    def documents(self) -> int:
        return self.searcher.retriever.index.latest.documents

    @property
    def passages(self) -> int:
        return len(self.searcher.retriever.index.latest)

    def checks(self) -> dict[str, str]:
        """`ok` or a problem for each part; the models were tested when they were loaded.

        `index` is the default collection's. Other collections have a line only for a problem.
        """
        default = self.folder.catalog.resolve(DEFAULT)
        checks = {
            "models": "ok",
            "index": self._checked(default, self.collection().check),
            "folder": self._checked("folder", self.folder.check),
        }
        if self.jobs is not None:
            checks["jobs"] = self._checked("jobs", self.jobs.check)
        checks |= {
            f"collection {name}": f"not open: {why}" for name, why in self.unavailable.items()
        }
        for name, collection in self.collections.items():
            found = "ok" if name == default else self._checked(name, collection.check)
            if found != "ok" and self.collections.get(name) is collection:  # not just removed
                checks[f"collection {name}"] = found
        return checks

    def _checked(self, part: str, check: Callable[[], str]) -> str:
        try:
            found = check()
        except StoreError as error:
            found = error.public
            if self._logged.get(part) != str(error):  # log once, not at every probe
                log.error("%s: %s", part, error)
            self._logged[part] = str(error)
        else:
            self._logged.pop(part, None)
        return found

    def close(self) -> None:
        """Stop the threads, then close the data folder."""
        self.closing.close()
        if self.jobs is not None:
            self.jobs.close()
        for collection in self.collections.values():
            collection.close()
        if self.pair_model is not None:
            self.pair_model.close()
        self.folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def open_engine(
    settings: Settings,
    *,
    pairs: bool = True,
    jobs: bool = True,
    models: ModelPool | None = None,
    works: Callable[[Engine], Mapping[JobKind, Work]] = lambda _engine: {},
) -> Engine:
    """Load models and collections and check that they work.

    Without `pairs` there is no pair model and no answer cache; without `jobs` no job runs. `works`
    gives what does the jobs without an upload. A collection that cannot be opened is left out and
    `Engine.unavailable` says why, but an error of the default collection is raised.

    Raises `StoreLockedError`, `IndexMismatchError`, `StoreError` or `ModelError`.
    """
    folder = DataFolder.open(settings.data_dir)
    folder.reserve.keep(settings.delete_reserve_bytes)
    engine = Engine(folder, models=models or ModelPool())
    try:
        language.load()
        engine.pair_model = engine.models.pair_model(settings) if pairs else None
        if engine.pair_model:
            engine.pair_model.encoder.encode_queries(["ready"])
        for name, record in folder.catalog.collections.items():
            _open_into(engine, name, record, settings)
        if jobs:
            limits = settings.document_limits
            engine.jobs = Jobs(
                settings.data_dir, engine.target, limits, folder.reserve, works(engine)
            )
            engine.jobs.start()
    except BaseException:
        engine.close()
        raise
    return engine


def _open_into(engine: Engine, name: str, record: CollectionRecord, settings: Settings) -> None:
    folder = engine.folder
    try:
        own = settings_of(record.settings, settings)
        engine.put(
            open_collection(name, folder.collection(name), own, engine.models, engine.pair_model)
        )
    except Exception as error:  # no error of one collection may close the others
        if name == folder.catalog.resolve(DEFAULT):
            raise
        unforeseen = None if isinstance(error, SecondpassError) else error
        log.error("the collection %r cannot be opened: %s", name, error, exc_info=unforeseen)
        engine.unavailable[name] = f"{_reason(error)}; see the server's log"


def _reason(error: Exception) -> str:
    """In words that name none of the server's folders."""
    if isinstance(error, IndexMismatchError):
        return "its vectors were made by another encoder"
    if isinstance(error, StoreError):
        return "its store cannot be used"
    if isinstance(error, InvalidInputError):
        return "its settings are invalid"
    if isinstance(error, ModelError):
        return "its models cannot be loaded"
    return "it cannot be opened"
