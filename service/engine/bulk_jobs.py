"""Jobs: uploads that are accepted at once and stored in the background, and work on labels."""

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from service.documents.lines import Place
from service.engine.job_files import Spool, Upload, open_job_store
from service.engine.job_work import JobStoppedError, Work, WorkProgress
from service.errors import (
    ConflictError,
    InvalidInputError,
    ModelError,
    NotAvailableError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    StoreError,
    StoreFullError,
)
from service.scheduling.gate import Gate, Turnstile, in_thread, paced
from service.scheduling.shares import current_caller, current_client
from service.store.job_store import MOST_WAITING, Job, JobKind, NewJob, Refusal, State
from service.store.reserve import Reserve
from service.store_protocol import Store
from service.types import DocumentLimits
from service.write.bulk_lines import Line, read_batches, store_batch, stored_step
from service.write.ingestor import Ingestor

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_UPLOADS = 64
"""Uploads at a time whose first piece has arrived."""

TURN_S = 2.0
"""How long a job runs before a job of another collection has its turn."""

MOST_WRITES = 3
"""Pieces of uploads that are written at a time; other work needs threads too."""

_PAUSE_S = 5.0
_SAID_EVERY_S = 10.0
"""Between two lines of the log about a running job."""

_FULL_NOTE = "the server's disk is full; the job continues when there is room"
_CLOSED_NOTE = "the collection could not be opened; the server's log says why"
_STORE_NOTE = "the server's store cannot be read or written; the job tries again"


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that a job writes to; `made` differs for a later one of the same name."""

    made: str
    store: Store
    ingestor: Ingestor
    stored: Callable[[], None]
    """Called after documents were stored."""


class Jobs:
    """The jobs of a data folder, and the one thread that runs them, oldest first.

    A batch is stored in one transaction with its step; then `jobs.db` counts the step. A job that
    continues first counts a step that its collection's store has and `jobs.db` lacks. So a crash
    never makes a batch be stored twice, which could undo a later write.
    """

    def __init__(
        self,
        folder: Path,
        find: Callable[[str], Target],
        limits: DocumentLimits,
        reserve: Reserve | None = None,
        works: Mapping[JobKind, Work] = MappingProxyType({}),
    ) -> None:
        """Open `folder/jobs.db`, or a new one if it is damaged or gone; `notes` says so.

        `find` returns a collection or raises `NotFoundError`. `limits` apply to each document.
        `reserve` is space to cancel jobs on a full disk. `works` do the jobs without an upload.
        Raises `StoreError`.
        """
        self._find, self._limits, self._works = find, limits, works
        self._store, note = open_job_store(folder, reserve)
        self._notes = [note] if note else []
        self._spool = Spool(folder / "jobs")
        self._spool.remove_others([job.id for job in self._store.unfinished()])
        self._uploads, self._disk = Gate(MOST_UPLOADS, "uploads"), Turnstile(MOST_WRITES)
        self._job_notes: dict[str, str] = {}
        self._clients: dict[str, str | None] = {}
        """By job that has not ended, for those that came since the start."""
        self._served: dict[str, float] = {}
        """When each collection had its last turn."""
        self._running: Job | None = None
        self._said = time.monotonic()
        self._starting = threading.Lock()
        self._awake, self._closing = threading.Event(), threading.Event()
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Start the thread; what an earlier process left undone comes first."""
        self._worker.start()

    def close(self) -> None:
        """Stop after the current batch; the next process continues there."""
        self._closing.set()
        self._awake.set()
        if self._worker.ident is not None:
            self._worker.join()
        self._store.close()

    def check(self) -> str:
        """`ok`. Raises `StoreError` if jobs cannot be read or would be lost."""
        self._store.check()
        return "ok"

    @property
    def notes(self) -> list[str]:
        """What an operator should know: what was lost, and how far the running job is."""
        job = self._running
        return [*self._notes, _progress(job)] if job else self._notes

    @property
    def waiting(self) -> int:
        return self._store.count_unfinished()

    async def receive(
        self, chunks: AsyncIterator[bytes], name: str, asked: str, key: str | None
    ) -> Job:
        """Write an upload for the collection `name` to the disk and queue its job.

        `asked` is the name in the request. With `key`, the same bytes for the same name are the
        same job. A failed upload leaves nothing. Raises `OverloadedError`, `ConflictError` (the key
        belongs to another upload), `InvalidInputError` (it stopped arriving), `NotFoundError` or
        `StoreError`.
        """
        made, client = self._find(name).made, current_client()
        self._uploads.check()
        self._require_share(client)
        upload = await self._write(chunks)
        new = NewJob(upload.id, name, made, asked, key, upload.sha256, upload.bytes, upload.lines)
        return await asyncio.to_thread(self._queue, new, client)

    def add(self, pieces: Iterable[bytes], name: str) -> Job:
        """As `receive`, of an upload that this process makes; blocks while it does."""
        made = self._find(name).made
        with self._spool.new() as partly:
            for piece in pieces:
                partly.write(piece)
            upload = partly.complete()
        new = NewJob(upload.id, name, made, name, None, upload.sha256, upload.bytes, upload.lines)
        return self._queue(new, None)

    def start_work(self, kind: JobKind, name: str, asked: str, options: Mapping[str, Any]) -> Job:
        """Queue a job without an upload. After a restart it begins again.

        Raises `ConflictError` if one of its kind waits or runs for the collection, `NotFoundError`,
        and `NotAvailableError` if this process does no such work.
        """
        if kind not in self._works:
            raise NotAvailableError(f"this server runs no {kind} jobs")
        made, client = self._find(name).made, current_client()
        self._require_share(client)
        said = json.dumps(options, ensure_ascii=False)
        new = NewJob(uuid.uuid4().hex, name, made, asked, None, "", 0, 0, kind, said)
        with self._starting:
            for job in self._store.unfinished():
                if (job.kind, job.collection) == (kind, name):
                    raise ConflictError(f"a job for this is under way: {job.id}")
            return self._queue(new, client)

    def _queue(self, upload: NewJob, client: str | None) -> Job:
        job: Job | None = None
        try:
            self._clients[upload.id] = client
            job = self._store.add(upload)
        finally:
            if job is None or job.id != upload.id:
                self._clients.pop(upload.id, None)
                self._spool.remove(upload.id)
        self._awake.set()
        return job

    def _require_share(self, client: str | None) -> None:
        if client is None:
            return
        waiting = list(self._clients.values()).count(client)
        if waiting >= current_caller().part_of(MOST_WAITING):
            raise OverloadedError(f"{waiting} jobs of this client are waiting; try again later", 60)

    def get(self, id_: str) -> Job:
        """The job of this id. Raises `NotFoundError`."""
        return self._store.get(id_)

    def newest(self, limit: int) -> list[Job]:
        return self._store.newest(limit)

    def refusals(self, id_: str) -> list[Refusal]:
        return self._store.refusals(id_)

    def result(self, id_: str) -> Mapping[str, Any] | None:
        """What came of a job without an upload; None before its end."""
        found = self._store.result(id_)
        return json.loads(found) if found else None

    def note(self, id_: str) -> str | None:
        """Why a running job makes no progress."""
        return self._job_notes.get(id_)

    def cancel(self, id_: str) -> Job:
        """End a job; what it has stored stays, and the current batch is still stored.

        A job that has ended does not change. Raises `NotFoundError`.
        """
        return self._finish(id_, "cancelled")

    async def _write(self, chunks: AsyncIterator[bytes]) -> Upload:
        pieces = paced(chunks)
        # The permit comes after the first piece: a stalled upload must not keep others waiting.
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
            if self._closing.is_set():  # checked after `clear`, or `close` could be missed
                return
            stuck = True
            try:
                stuck = self._work_through()
            except StoreError as error:
                log.error("jobs: %s", error)
            except Exception:
                log.exception("the jobs cannot continue")
            self._awake.wait(_PAUSE_S if stuck else None)

    def _work_through(self) -> bool:
        """Run all jobs; True if those of a collection cannot go on now.

        Jobs of one collection are stored in their order, so a stuck one holds up the later ones.
        The first jobs of several collections take turns.
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
                self._run(job)
            except (StoreError, NotReadyError) as error:
                stuck.add(job.collection)
                self._report(job, error)
        return bool(stuck)

    def _run(self, job: Job) -> None:
        """Work until the job or its turn ends, or the process is closing.

        Raises `StoreError` or `NotReadyError` if it should be tried again.
        """
        try:
            self._store.begin(job.id)
            if job.kind == "upload":
                self._store_batches(job)
            else:
                self._do_work(job)
        except NotFoundError:
            self._finish(job.id, "failed", f"the collection {job.collection!r} was dropped")
        except OSError:
            if not self._store.get(job.id).is_finished:  # else cancelled: its upload is gone
                log.exception("job %s: its upload cannot be read", job.id)
                self._finish(job.id, "failed", "the upload cannot be read; send it again")
        except (StoreError, NotReadyError):
            raise
        except Exception:
            log.exception("job %s failed", job.id)
            self._finish(job.id, "failed", "an unforeseen error; the server's log has it")
        finally:
            self._running = None  # a job that was cancelled during a batch was shown after it

    def _store_batches(self, job: Job) -> None:
        job = self._with_last_step(job)
        path, start = self._spool.path(job.id), Place(job.offset, job.line)
        until = time.monotonic() + TURN_S
        for batch in read_batches(path, start, self._limits):
            job = self._store_batch(job, batch)
            self._job_notes.pop(job.id, None)
            self._show(job)
            if self._must_stop(job) or time.monotonic() > until:
                return
        self._finish(job.id, "done")

    def _do_work(self, job: Job) -> None:
        self._target(job)
        progress = WorkProgress(self._store, job.id, self._closing.is_set, self._show)
        options = json.loads(job.options)
        try:
            result = self._works[job.kind](job.collection, options, progress)
            progress.complete()
        except JobStoppedError:
            return
        except InvalidInputError as error:
            self._finish(job.id, "failed", str(error))
            return
        self._finish(job.id, "done", result=json.dumps(result, ensure_ascii=False))

    def _show(self, job: Job) -> None:
        self._running = job
        if time.monotonic() - self._said >= _SAID_EVERY_S:
            self._said = time.monotonic()
            log.info("%s", _progress(job))

    def _with_last_step(self, job: Job) -> Job:
        """Count a step that was stored but not counted."""
        step = stored_step(self._target(job).store, job.id)
        return self._store.checkpoint(job.id, step) if step and step.offset > job.offset else job

    def _store_batch(self, job: Job, batch: Sequence[Line]) -> Job:
        """Store and count a batch; if one of its documents makes it fail, line by line."""
        target = self._target(job)
        try:
            step = store_batch(target.ingestor, job.id, batch)
        except (InvalidInputError, ModelError):
            for line in batch:
                if self._must_stop(job):
                    break
                job = self._store_batch(job, [line])
            return job
        target.stored()
        return self._store.checkpoint(job.id, step)

    def _must_stop(self, job: Job) -> bool:
        """Whether the job was cancelled or the process is closing."""
        return job.is_finished or self._closing.is_set()

    def _target(self, job: Job) -> Target:
        target = self._find(job.collection)
        if target.made != job.collection_made:
            raise NotFoundError(f"the collection {job.collection!r} was replaced by another")
        return target

    def _finish(
        self, id_: str, state: State, reason: str | None = None, result: str | None = None
    ) -> Job:
        if self._running and self._running.id == id_:
            self._running = None
        job = self._store.finish(id_, state, reason, result)
        self._job_notes.pop(id_, None)
        self._clients.pop(id_, None)
        self._spool.remove(id_)
        log.info("job %s %s: %d done, %d refused", id_, job.state, job.done, job.refused)
        return job

    def _report(self, job: Job, error: StoreError | NotReadyError) -> None:
        notes = {StoreFullError: _FULL_NOTE, NotReadyError: _CLOSED_NOTE}
        note = notes.get(type(error), _STORE_NOTE)
        if self._job_notes.get(job.id) != note:  # log once, not every few seconds
            log.error("job %s: %s", job.id, error)
        self._job_notes[job.id] = note


def _progress(job: Job) -> str:
    if job.kind != "upload":
        return f"job {job.id}: {job.kind}, {job.done} of {job.total} queries"
    return f"job {job.id}: {job.done + job.refused} of {job.total} lines are stored"
