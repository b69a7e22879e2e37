"""Copies all documents of one collection into another while both are searched."""

import logging
import threading
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.engine.live_collection import LiveCollection
from service.errors import SecondpassError, StoreError
from service.store_protocol import Store
from service.types import Document
from service.write.row_batches import row_batches

log = logging.getLogger(__name__)

NOTE = "copy"
_LOT = 256
_LOT_CHARS = 4_000_000
_PAUSE_S = 5.0

State = Literal["running", "done", "failed"]


class CopyState(BaseModel):
    """How far a copy is. It is kept in the target's store, so that a later process can go on.

    `made` is when the source was made: a later collection of its name is not the source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    made: str
    mirror: bool
    state: State = "running"
    after: str = ""
    copied: int = 0
    removed: int = 0
    total: int = 0
    reason: str | None = None


def read_state(store: Store) -> CopyState | None:
    with store.view() as view:
        note = view.note(NOTE)
    return CopyState.model_validate_json(note) if note else None


class Copy:
    """A thread that reads a source in the order of ids and stages its documents in a target.

    After a crash a lot may be staged twice, which changes nothing. The copy misses documents that
    are written to the source behind its place. Copy again to get them: only what differs is staged.
    `mirror` removes documents that the source does not have.
    """

    def __init__(
        self, target: LiveCollection, find: Callable[[CopyState], LiveCollection], state: CopyState
    ) -> None:
        """`find` returns the source or raises `NotFoundError`."""
        self._target, self._find = target, find
        self._closing = threading.Event()
        self.state = state
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="copy", daemon=True)

    def start(self) -> None:
        self._note(self.state)
        self._thread.start()

    def close(self) -> None:
        """Stop after the current lot; another process continues there."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while self.state.state == "running" and not self._closing.is_set():
            try:
                self._step()
            except StoreError as error:  # it may pass, as a full disk does
                if self.problem != error.public:
                    log.error("copy into %s: %s", self._target.name, error)
                self.problem = error.public
                self._closing.wait(_PAUSE_S)
            except SecondpassError as error:
                self._fail(str(error))
            except Exception:
                log.exception("copy into %s", self._target.name)
                self._fail("a fault of the server; see its log")
            else:
                self.problem = None

    def _step(self) -> None:
        state = self.state
        source = self._find(state)
        with source.folder.store.view() as view:
            total = view.written
            rows = (stored.document for stored in view.documents({}, state.after, _LOT))
            documents = next(row_batches(rows, lambda document: len(document.text), _LOT_CHARS), [])
        last = documents[-1].id if documents else None
        store = self._target.folder.store
        if documents:
            store.stage(documents)
        removed = self._remove_others(state.after, last, documents) if state.mirror else 0
        self._target.indexer.wake()
        self._note(
            state.model_copy(
                update={
                    "after": last or state.after,
                    "copied": state.copied + len(documents),
                    "removed": state.removed + removed,
                    "total": total,
                    "state": "running" if documents else "done",
                }
            )
        )

    def _remove_others(self, after: str, last: str | None, kept: list[Document]) -> int:
        """Remove documents of the target after `after`, up to `last`, except `kept`."""
        store, ids = self._target.folder.store, {document.id for document in kept}
        removed = 0
        while True:
            with store.view() as view:
                there = [stored.document.id for stored in view.documents({}, after, _LOT)]
            within = [id_ for id_ in there if last is None or id_ <= last]
            if others := [id_ for id_ in within if id_ not in ids]:
                removed += store.delete(others)
            if len(within) < _LOT:
                return removed
            after = within[-1]

    def _fail(self, reason: str) -> None:
        log.error("copy into %s: %s", self._target.name, reason)
        self.state = self.state.model_copy(update={"state": "failed", "reason": reason})
        try:
            self._note(self.state)
        except StoreError as error:
            log.error("copy into %s: %s", self._target.name, error)

    def _note(self, state: CopyState) -> None:
        self._target.folder.store.set_note(NOTE, state.model_dump_json())
        self.state = state
