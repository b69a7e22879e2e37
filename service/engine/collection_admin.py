"""Lists, creates, drops, copies and restores collections while searches run in the others."""

import logging
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

from service.engine.copying import Copy, CopyState, read_state
from service.engine.engine import Engine
from service.engine.live_collection import LiveCollection, open_collection
from service.engine.making import Maker, archive
from service.errors import (
    ConflictError,
    ModelError,
    NotAvailableError,
    NotFoundError,
    NotReadyError,
    StoreError,
)
from service.memory import collect_frozen_objects
from service.settings import NO_MODEL, Settings
from service.store.catalog import SettingValue
from service.store.data_folder import CollectionFolder
from service.types import EncoderIdentity

log = logging.getLogger(__name__)

_UNREADABLE = "its store cannot be read; see the server's log"
_NO_MODELS = "this server cannot load the models; see its log"

_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as it is now. The figures are None if it could not be opened.

    Searches see `documents` and `passages`. `staged` documents wait to be encoded, `failed` ones
    cannot be encoded. `copy` is the last copy into it.
    """

    name: str
    aliases: list[str]
    created: datetime
    settings: Mapping[str, SettingValue]
    problems: list[str]
    documents: int | None = None
    passages: int | None = None
    staged: int | None = None
    failed: int | None = None
    revision: int | None = None
    generation: str | None = None
    encoder: EncoderIdentity | None = None
    reranker: str | None = None
    copy: CopyState | None = None


class Collections:
    """The collections of a running engine. Methods block: call them from a thread.

    Any method may raise `StoreError`.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self.catalog = engine.folder.catalog
        self._maker = Maker(
            folder=engine.folder,
            settings=settings,
            identify=engine.models.identity,
            activate=self._activate,
            go_on=self._require_open,
        )
        self._lock = threading.Lock()
        self._copies: dict[str, Copy] = {}
        self._closing = threading.Event()

    def resume(self) -> None:
        """Continue copies that an earlier process left undone."""
        for name, collection in self._engine.collections.items():
            try:
                state = read_state(collection.folder.store)
                if state and state.state == "running":
                    self._start_copy(name, Copy(collection, self._source, state))
            except StoreError as error:
                log.error("the copy into %s does not go on: %s", name, error)

    def close(self) -> None:
        """Stop the copies; a later process continues them."""
        self._closing.set()
        for copy in list(self._copies.values()):
            copy.close()

    def infos(self) -> list[CollectionInfo]:
        found = []
        for name in sorted(self.catalog.collections):
            with suppress(NotFoundError):  # removed meanwhile
                try:
                    found.append(self._info(name))
                except StoreError as error:
                    log.error("the collection %r cannot be read: %s", name, error)
                    found.append(self._without_figures(name, _UNREADABLE))
        return found

    def info(self, name: str) -> CollectionInfo:
        """The collection that a name or alias leads to. Raises `NotFoundError`."""
        return self._info(self.catalog.resolve(name))

    def aliases(self) -> dict[str, str]:
        return dict(self.catalog.aliases)

    def set_alias(self, alias: str, name: str) -> None:
        """Set an alias for the next requests. Raises `NotFoundError` and `ConflictError`."""
        if name in self._engine.unavailable:
            self._engine.collection(name)
        self.catalog.set_alias(alias, name)

    def remove_alias(self, alias: str) -> None:
        """Remove an alias. Raises `NotFoundError`, and `ConflictError` for `default`."""
        self._engine.folder.reserve.spend(lambda: self.catalog.remove_alias(alias))

    def create(self, name: str, own: Mapping[str, SettingValue]) -> None:
        """Create an empty collection. A failure leaves nothing behind.

        Raises `InvalidInputError`, `ConflictError` if the name is taken, `NotAvailableError` if a
        model cannot be loaded.
        """
        with self._models():
            self._maker.create(name, own)

    def drop(self, name: str) -> None:
        """Remove a collection for good once its current searches have ended.

        Raises `NotFoundError`, and `ConflictError` for `main` or if an alias leads to it.
        """
        self._engine.folder.drop(name, lambda: self._close(name))
        collect_frozen_objects()

    def copy(self, name: str, source: str, *, mirror: bool = False) -> CopyState:
        """Begin to copy all documents of `source` into `name`; both may be aliases.

        `mirror` removes documents that the source does not have. Raises `NotFoundError`, and
        `ConflictError` if a copy into `name` is running.
        """
        target = self._engine.collection(name)
        found = self._engine.collection(source)
        if target is found:
            raise ConflictError(f"{source!r} is the target itself")
        made = self.catalog.collections[found.name].created.isoformat()
        copy = Copy(target, self._source, CopyState(source=found.name, made=made, mirror=mirror))
        self._start_copy(target.name, copy)
        return copy.state

    def require_free(self, name: str) -> None:
        """Raise `InvalidInputError` for a bad name and `ConflictError` for one that is taken."""
        self.catalog.require_free(name)

    def snapshot(self, name: str) -> Generator[bytes]:
        """As `archive`, of an open collection."""
        return archive(self._engine.folder, self._engine.collection(name).name)

    def restore(self, name: str, file: BinaryIO, *, re_embed: bool = False) -> None:
        """Make the collection that an archive holds, as `Maker.restore`. Raises as `create` too."""
        with self._models():
            self._maker.restore(name, file, re_embed=re_embed)

    @contextmanager
    def _activate(self, name: str, folder: CollectionFolder, settings: Settings) -> Generator[None]:
        engine = self._engine
        with ExitStack() as undo:
            live = open_collection(name, folder, settings, engine.models, engine.pair_model)
            undo.callback(live.close)
            engine.put(live)
            undo.callback(engine.take, name)
            self._require_open()
            yield
            undo.pop_all()
        live.indexer.wake()

    @contextmanager
    def _models(self) -> Generator[None]:
        try:
            yield
        except ModelError as error:
            log.warning("the models of a collection cannot be loaded: %s", error)
            raise NotAvailableError(_NO_MODELS) from error

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise NotReadyError("the server is stopping")

    def _close(self, name: str) -> None:
        live = self._engine.take(name)
        with self._lock:
            copy = self._copies.pop(name, None)
        if copy is not None:
            copy.close()
        if live is None:
            return
        until = time.monotonic() + self._settings.timeout_ms / 1000
        while live.searcher.in_flight and time.monotonic() < until:
            time.sleep(_PAUSE_S)
        live.close()

    def _start_copy(self, name: str, copy: Copy) -> None:
        with self._lock:
            before = self._copies.get(name)
            if before is not None and before.state.state == "running":
                raise ConflictError(f"a copy into {name!r} is under way; wait until it is done")
            copy.start()
            self._copies[name] = copy

    def _source(self, state: CopyState) -> LiveCollection:
        record = self.catalog.collections.get(state.source)
        if record is None or record.created.isoformat() != state.made:
            raise NotFoundError(f"the collection {state.source!r} is gone")
        return self._engine.collection(state.source)

    def _without_figures(self, name: str, *problems: str) -> CollectionInfo:
        record = self.catalog.collections.get(name)
        if record is None:
            raise NotFoundError(f"there is no collection {name!r}")
        aliases = sorted(a for a, c in self.catalog.aliases.items() if c == name)
        return CollectionInfo(name, aliases, record.created, record.settings, list(problems))

    def _info(self, name: str) -> CollectionInfo:
        if name in self._engine.unavailable:
            return self._without_figures(name, self._engine.unavailable[name])
        known, live = self._without_figures(name), self._engine.collection(name)
        with live.folder.store.view() as view:
            counts, (staged, failed), revision = view.counts, view.unseen, view.revision
        copy = self._copies.get(name)
        reranker = live.searcher.second_stage.reranker
        copy_problem = [copy.problem] if copy and copy.problem else []
        return replace(
            known,
            problems=[*live.notes, *live.indexer.problems, *copy_problem],
            documents=counts.documents,
            passages=counts.passages,
            staged=staged,
            failed=failed,
            revision=revision,
            generation=live.searcher.retriever.index.latest.generation,
            encoder=live.searcher.encoder.identity,
            reranker=reranker.model if reranker else NO_MODEL,
            copy=copy.state if copy else read_state(live.folder.store),
        )
