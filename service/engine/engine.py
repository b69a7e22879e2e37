"""What a running search service holds."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from service.engine.bulk_jobs import Jobs, Target
from service.engine.live_collection import LiveCollection
from service.engine.model_pool import ModelPool
from service.errors import NotFoundError, NotReadyError, StoreError
from service.search.pair_model import PairModel
from service.search.searcher import Searcher
from service.store.catalog import DEFAULT, MAIN
from service.store.data_folder import DataFolder

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine:
    """Models, collections and data folder, loaded.

    `pair_model` is None where the settings name none, `jobs` where no bulk jobs are to run.
    `unavailable` says why a collection could not be opened. What `closing` holds ends first.
    """

    folder: DataFolder
    collections: dict[str, LiveCollection] = field(default_factory=dict)
    pair_model: PairModel | None = None
    jobs: Jobs | None = None
    models: ModelPool = field(default_factory=ModelPool)
    unavailable: dict[str, str] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)
    _complaints: dict[str, str] = field(default_factory=dict)

    def collection(self, name: str = DEFAULT) -> LiveCollection:
        """The collection that a name or alias leads to.

        Raises `NotFoundError`, and `NotReadyError` where it could not be opened.
        """
        found = self.folder.catalog.resolve(name)
        if found in self.unavailable:
            raise NotReadyError(f"the collection {found!r} is not open: {self.unavailable[found]}")
        try:
            return self.collections[found]
        except KeyError as error:  # removed this very moment
            raise NotFoundError(f"there is no collection {name!r}") from error

    def put(self, collection: LiveCollection) -> None:
        """Let requests find it, once the catalog names it."""
        self.collections = {**self.collections, collection.name: collection}

    def take(self, name: str) -> LiveCollection | None:
        """The collection, which no later request finds; None where it was not open."""
        self.unavailable = {n: why for n, why in self.unavailable.items() if n != name}
        taken = self.collections.get(name)
        self.collections = {n: c for n, c in self.collections.items() if n != name}
        return taken

    def target(self, name: str) -> Target:
        """The collection of this name, no alias, for a bulk job. Raises as `collection`."""
        record = self.folder.catalog.collections.get(name)
        if record is None:
            raise NotFoundError(f"there is no collection {name!r}")
        collection = self.collection(name)
        made = "" if name == MAIN else record.created.isoformat()  # that one is always there
        return Target(
            name, made, collection.folder.store, collection.ingestor, collection.indexer.wake
        )

    @property
    def searcher(self) -> Searcher:
        """Searches in the default collection."""
        return self.collection().searcher

    @property
    def notes(self) -> list[str]:
        """What an operator should know."""
        return (
            [
                note if name == MAIN or len(self.collections) == 1 else f"{name}: {note}"
                for name, collection in self.collections.items()
                for note in [*collection.notes, *collection.indexer.problems]
            ]
            + [*(self.jobs.notes if self.jobs else [])]
            + [f"{name}: not open: {reason}" for name, reason in self.unavailable.items()]
        )

    @property
    def documents(self) -> int:
        """Documents in the default collection."""
        return self.searcher.retriever.index.latest.documents

    @property
    def passages(self) -> int:
        """Passages in the default collection."""
        return len(self.searcher.retriever.index.latest)

    def checks(self) -> dict[str, str]:
        """`ok` or a complaint for each part; the models were proven when they were loaded.

        `index` is the default collection's; another one has a line only where it has a complaint.
        """
        default = self.folder.catalog.resolve(DEFAULT)
        checks = {
            "models": "ok",
            "index": self._checked(default, self.collection().check),
        }
        checks["folder"] = self._checked("folder", self.folder.check)
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
            if self._complaints.get(part) != str(error):  # once, not at every probe
                log.error("%s: %s", part, error)
            self._complaints[part] = str(error)
        else:
            self._complaints.pop(part, None)
        return found

    def close(self) -> None:
        """Stop the threads, then let the data folder go."""
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
