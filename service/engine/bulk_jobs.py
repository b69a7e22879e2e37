"""Bulk jobs: uploads that are taken in at once and worked through behind the searches."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from service.documents.lines import Place
from service.engine.set_aside import set_aside
from service.engine.spool import Spool, Upload
from service.errors import (
    InvalidInputError,
    ModelError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
)
from service.protocols import Store
from service.scheduling.gate import CLIENTS, Gate, Turnstile, in_thread, paced
from service.scheduling.shares import current_client
from service.store.database import files_of
from service.store.job_store import MOST_WAITING, Job, JobStore, NewJob, Refusal, State
from service.store.reserve import Reserve
from service.types import DocumentLimits
from service.write.bulk_lines import Line, read_batches, store_batch, stored_step
from service.write.ingestor import Ingestor

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_UPLOADS = 64
"""Uploads of which a first piece has come, at a time."""

TURN_S = 2.0
"""How long a job is worked on before the first one of another collection has its turn."""

MOST_WRITES = 3
"""Pieces of uploads that are written at a time; other work wants threads as well."""

_PAUSE_S = 5.0
_FULL_NOTE = "the server's disk is full; the job goes on when there is room"
_CLOSED_NOTE = "the collection could not be opened; the server's log says why"
_STORE_NOTE = "the server's store cannot be read or written; the job tries again"


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that a job writes to: `made` tells it from a later one of the same name."""

    name: str
    made: str
    store: Store
    ingestor: Ingestor
    stored: Callable[[], None]
    """Called when documents were stored."""


class Jobs:
    """The jobs of a data folder, and the one thread that works through them, the oldest first.

    A batch is stored in one transaction with the step that it is, and counted here after it. A
    job that goes on first counts the step that its collection's store has and `jobs.db` has not:
    whenever the process dies, no batch is stored twice, so that no later write is undone.
    """

    def __init__(
        self,
        folder: Path,
        find: Callable[[str], Target],
        limits: DocumentLimits,
        reserve: Reserve | None = None,
    ) -> None:
        """Open `folder/jobs.db`, or a new one where it is damaged or gone: `notes` says so.

        `find` gives a collection, or raises `NotFoundError`. `limits` bound a document, `reserve`
        is space to cancel jobs on a full disk. Raises `StoreError`.
        """
        self._find, self._limits = find, limits
        self.notes: list[str] = []
        self._store = self._open_store(folder, reserve)
        self._spool = Spool(folder / "jobs")
        self._spool.remove_others([job.id for job in self._store.unfinished()])
        self._uploads, self._disk = Gate(MOST_UPLOADS, "uploads"), Turnstile(MOST_WRITES)
        self._job_notes: dict[str, str] = {}
        self._clients: dict[str, str | None] = {}
        """Whose the jobs are that came since the start."""
        self._served: dict[str, float] = {}
        """When a collection had its last turn."""
        self._awake, self._closing = threading.Event(), threading.Event()
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier process left undone first."""
        self._worker.start()

    def close(self) -> None:
        """Stop after the batch under way; the next process goes on there."""
        self._closing.set()
        self._awake.set()
        if self._worker.ident is not None:
            self._worker.join()
        self._store.close()

    def check(self) -> str:
        """`ok`. Raises `StoreError` where jobs cannot be read or would be lost."""
        self._store.check()
        return "ok"

    def _open_store(self, folder: Path, reserve: Reserve | None) -> JobStore:
        """The jobs of the folder; what is damaged is set aside, with the uploads it told of."""
        path, uploads = folder / "jobs.db", folder / "jobs"
        why = None
        if path.exists():
            store = None
            try:
                store = JobStore(path, reserve)
                store.require_sound()
            except (StoreLockedError, StoreFullError):
                raise
            except StoreError as error:
                if store:
                    store.close()
                if not os.access(path, os.R_OK | os.W_OK):
                    raise
                why = f"{path} cannot be used ({error})"
            else:
                return store
        elif uploads.is_dir() and any(uploads.glob("*.ndjson")):
            why = f"{path} is gone, and uploads are there"
        if why:
            set_aside([*files_of(path), uploads], why)
            self.notes.append("the bulk jobs were lost; their file was set aside, see the log")
        return JobStore(path, reserve)

    @property
    def waiting(self) -> int:
        """Jobs that have not ended."""
        return self._store.count_unfinished()

    async def receive(
        self, chunks: AsyncIterator[bytes], name: str, asked: str, key: str | None
    ) -> Job:
        """Write an upload for the collection `name` to the disk and queue its job.

        `asked` is the name that the request gave. With `key`, the same bytes for the same name are
        the same job. Of an upload that does not end well nothing stays. Raises `OverloadedError`,
        `ConflictError` (the key is another upload's), `InvalidInputError` (it stopped coming),
        `NotFoundError` or `StoreError`.
        """
        made, client = self._find(name).made, current_client()
        self._uploads.check()
        await asyncio.to_thread(self._require_share, client)
        upload = await self._write(chunks)
        new = NewJob(upload.id, name, made, asked, key, upload.sha256, upload.bytes, upload.lines)
        job: Job | None = None
        try:
            self._clients[upload.id] = client
            job = await asyncio.to_thread(self._store.add, new)
        finally:
            if job is None or job.id != upload.id:
                self._clients.pop(upload.id, None)
                self._spool.remove(upload.id)
        self._awake.set()
        return job

    def _require_share(self, client: str | None) -> None:
        if client is None:
            return
        waiting = sum(self._clients.get(job.id) == client for job in self._store.unfinished())
        if waiting >= MOST_WAITING // CLIENTS:
            raise OverloadedError(f"{waiting} jobs of this client wait; try again later", 60)

    def get(self, id_: str) -> Job:
        """The job of this id. Raises `NotFoundError`."""
        return self._store.get(id_)

    def newest(self, limit: int) -> list[Job]:
        """The last jobs, the newest first."""
        return self._store.newest(limit)

    def refusals(self, id_: str) -> list[Refusal]:
        """The first hundred lines of a job that were refused."""
        return self._store.refusals(id_)

    def note(self, id_: str) -> str | None:
        """Why a job that runs does not get on."""
        return self._job_notes.get(id_)

    def cancel(self, id_: str) -> Job:
        """End a job; what it has stored stays, and the batch under way still counts.

        One that has ended stays as it is. Raises `NotFoundError`.
        """
        return self._finish(id_, "cancelled")

    async def _write(self, chunks: AsyncIterator[bytes]) -> Upload:
        pieces = paced(chunks)
        # No permit before this: an upload that hardly comes must not keep another waiting.
        first = await anext(pieces, b"")
        with self._uploads.permit(), self._spool.new() as upload:
            await self._on_disk(partial(upload.write, first))
            async for piece in pieces:
                await self._on_disk(partial(upload.write, piece))
            return await self._on_disk(upload.complete)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        async with self._disk.turn():
            return await in_thread(work)

    def _work(self) -> None:
        while True:
            self._awake.clear()
            if self._closing.is_set():  # looked at after the clearing, or `close` could be missed
                return
            try:
                stuck = self._work_through()
            except StoreError as error:
                log.error("jobs: %s", error)
                stuck = True
            except Exception:
                log.exception("the jobs cannot go on")
                stuck = True
            self._awake.wait(_PAUSE_S if stuck else None)

    def _work_through(self) -> bool:
        """Work on all jobs; True where a collection's cannot go on now.

        Then the others of that collection wait too: what came later is to be stored later. The
        first jobs of several collections take turns.
        """
        stuck: set[str] = set()
        while not self._closing.is_set():
            first: dict[str, Job] = {}
            for job in self._store.unfinished():
                if job.collection not in stuck:
                    first.setdefault(job.collection, job)
            if not first:
                break
            job = min(first.values(), key=lambda one: self._served.get(one.collection, 0.0))
            self._served = {name: self._served.get(name, 0.0) for name in first}
            self._served[job.collection] = time.monotonic()
            try:
                self._go_on_with(job)
            except (StoreError, NotReadyError) as error:
                stuck.add(job.collection)
                self._report(job, error)
        return bool(stuck)

    def _go_on_with(self, job: Job) -> None:
        """Work until the job has ended, its turn has, or the process is to.

        Raises `StoreError` or `NotReadyError`: try again.
        """
        try:
            self._store.begin(job.id)
            self._read(job)
        except NotFoundError:
            self._finish(job.id, "failed", f"the collection {job.collection!r} was dropped")
        except OSError:
            if not self._store.get(job.id).is_finished:  # cancelled: its upload is gone
                log.exception("job %s: its upload cannot be read", job.id)
                self._finish(job.id, "failed", "the upload cannot be read; send it again")
        except (StoreError, NotReadyError):
            raise
        except Exception:
            log.exception("job %s failed", job.id)
            self._finish(job.id, "failed", "an unforeseen error; the server's log has it")

    def _read(self, job: Job) -> None:
        job = self._caught_up(job)
        path, start = self._spool.path(job.id), Place(job.offset, job.line)
        until = time.monotonic() + TURN_S
        for batch in read_batches(path, start, self._limits):
            if self._closing.is_set():
                return
            job = self._take(job, batch)
            self._job_notes.pop(job.id, None)
            if job.is_finished or time.monotonic() > until:
                return
        self._finish(job.id, "done")

    def _caught_up(self, job: Job) -> Job:
        """The job with what was stored of it, but not counted."""
        step = stored_step(self._target(job).store, job.id)
        return self._store.checkpoint(job.id, step) if step and step.offset > job.offset else job

    def _take(self, job: Job, batch: Sequence[Line]) -> Job:
        """Store and count a batch; where one of its documents makes it fail, each by itself."""
        target = self._target(job)
        try:
            step = store_batch(target.ingestor, job.id, batch)
        except (InvalidInputError, ModelError):
            for line in batch:
                job = self._take(job, [line])
            return job
        target.stored()
        return self._store.checkpoint(job.id, step)

    def _target(self, job: Job) -> Target:
        target = self._find(job.collection)
        if target.made != job.collection_made:
            raise NotFoundError(f"the collection {job.collection!r} is another one now")
        return target

    def _finish(self, id_: str, state: State, reason: str | None = None) -> Job:
        job = self._store.finish(id_, state, reason)
        self._job_notes.pop(id_, None)
        self._clients.pop(id_, None)
        self._spool.remove(id_)
        log.info("job %s %s: %d done, %d refused", id_, job.state, job.done, job.refused)
        return job

    def _report(self, job: Job, error: StoreError | NotReadyError) -> None:
        notes = {StoreFullError: _FULL_NOTE, NotReadyError: _CLOSED_NOTE}
        note = notes.get(type(error), _STORE_NOTE)
        if self._job_notes.get(job.id) != note:  # once, not every few seconds
            log.error("job %s: %s", job.id, error)
        self._job_notes[job.id] = note
