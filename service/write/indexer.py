"""The background threads of a collection: they encode documents and compact the index."""

import logging
import threading
from collections.abc import Callable, Collection

from service.errors import NotReadyError, SecondpassError
from service.index.generation import Generation, build, is_whole, remove_others, worth_building
from service.index.live_index import LiveIndex
from service.store.data_folder import CollectionFolder
from service.types import IndexIdentity
from service.write.ingestor import Ingestor
from service.write.passage_states import PassageStates

log = logging.getLogger(__name__)

_PAUSE_S = 5.0
"""Before the next try after an error, such as a full disk."""


class Indexer:
    """Threads: one encodes staged documents, one compacts the index when that is due, and one keeps
    token states if the reranker reads them.

    Searches and writers never wait for them. The store knows what is left to do, so the next start
    repeats a step that a dying process did not finish.
    """

    def __init__(
        self,
        folder: CollectionFolder,
        index: LiveIndex,
        ingestor: Ingestor,
        identity: IndexIdentity,
        *,
        hnsw_threshold: int,
        states: PassageStates | None = None,
    ) -> None:
        self._folder, self._index, self._ingestor = folder, index, ingestor
        self._identity, self._hnsw_threshold = identity, hnsw_threshold
        self._closing = threading.Event()
        self._compacting = threading.Lock()
        self._workers = [
            _Worker("indexer", self._encode_some, self._closing),
            _Worker("compactor", self._compact_if_due, self._closing),
        ]
        self._states = states
        if states:
            worker = _Worker("token states", states.follow, self._closing)
            self._workers.append(worker)
            states.file.on_loss = worker.awake.set  # no write may come to do it

    @property
    def problems(self) -> list[str]:
        """Why the last steps failed; empty if they did not."""
        return [worker.problem for worker in self._workers if worker.problem]

    def start(self) -> None:
        """Start the threads; what an earlier process left undone comes first."""
        for worker in self._workers:
            worker.thread.start()
            worker.awake.set()

    def wake(self) -> None:
        """Tell the threads that there may be work."""
        for worker in self._workers:
            worker.awake.set()

    def waits(self, versions: Collection[int]) -> bool:
        """Whether a document that was written at one of `versions` still waits to be encoded."""
        with self._folder.store.view() as store:
            return store.still_staged(versions)

    def is_index_whole(self) -> bool:
        """Whether all files of the current generation are still on the disk."""
        latest = self._index.latest
        return is_whole(self._folder.generations, latest.generation, latest.base.kind)

    def compact(self) -> Generation:
        """Build a generation of all passages there are now, and let searches use it.

        Raises `StoreError`, and `NotReadyError` once this is being closed; searches then keep the
        generation they have.
        """
        with self._compacting:
            store = self._folder.store
            generation = build(
                store,
                self._folder.generations,
                self._identity,
                hnsw_threshold=self._hnsw_threshold,
                use=self._use,
                go_on=self._require_open,
            )
            remove_others(self._folder.generations, generation.name)
        return generation

    def close(self) -> None:
        """Stop after the current steps."""
        self._closing.set()
        self.wake()
        for worker in self._workers:
            if worker.thread.ident is not None:
                worker.thread.join()
        # They refer back to this object; only the garbage collector would free such a cycle.
        self._workers = []
        if self._states:
            self._states.close()

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise NotReadyError("the collection is being closed")

    def _use(self, generation: Generation) -> None:
        with self._folder.store.view() as store:
            self._index.swap(generation, store)

    def _encode_some(self) -> bool:
        done, worked = self._ingestor.index_some()
        if done:
            for worker in self._workers[1:]:
                worker.awake.set()
        return worked

    def _compact_if_due(self) -> bool:
        base = self._index.latest.base
        with self._folder.store.view() as store:
            changes = store.changes_since(base.last_passage)
        due = worth_building(base, changes, self._hnsw_threshold) or not self.is_index_whole()
        if due:
            self.compact()
        return due


class _Worker:
    """A thread that repeats a step while it finds work, then sleeps until it is woken."""

    def __init__(self, name: str, step: Callable[[], bool], closing: threading.Event) -> None:
        self.awake = threading.Event()
        self.problem: str | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._step, self._closing = step, closing

    def _run(self) -> None:
        while True:
            self.awake.clear()
            if self._closing.is_set():  # checked after `clear`, so that no call is lost
                return
            try:
                worked = self._step()
            except NotReadyError:  # closing
                return
            except Exception as error:  # no error may keep later documents from being indexed
                self._report(error)
                self._closing.wait(_PAUSE_S)
                continue
            self.problem = None
            if not worked:
                self.awake.wait()

    def _report(self, error: Exception) -> None:
        expected = isinstance(error, SecondpassError)
        reason = error.public if isinstance(error, SecondpassError) else "failed; see the log"
        problem = f"{self.thread.name}: {reason}"
        if self.problem != problem:  # log once, not every few seconds
            log.error("%s: %s", self.thread.name, error, exc_info=None if expected else error)
        self.problem = problem
