"""Jobs without an upload: what does them, and how they tell how far they are."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from service.store.job_store import Job, JobStore

COUNT_EVERY_S = 0.25
"""Between two writes of how far a job is."""

OnProgress = Callable[[int, int], None]
"""Takes how many queries are done, of how many; raises `JobStoppedError` if the job must stop."""

Work = Callable[[str, Mapping[str, Any], OnProgress], Mapping[str, Any]]
"""Does a job: takes the collection's name, the options and a listener, gives the result.

Raises `InvalidInputError` where labels are too few.
"""


class JobStoppedError(Exception):
    """The job was cancelled, or the process is closing."""


class WorkProgress:
    """Writes down how far a job is. Its work calls it."""

    def __init__(
        self,
        store: JobStore,
        job_id: str,
        closing: Callable[[], bool],
        show: Callable[[Job], None],
    ) -> None:
        self._store, self._id, self._closing, self._show = store, job_id, closing, show
        self._began, self._counted = time.monotonic(), float("-inf")
        self._total = 0

    def __call__(self, done: int, total: int) -> None:
        """As `OnProgress`."""
        self._total = total
        if self._closing():
            raise JobStoppedError
        if done == total or time.monotonic() - self._counted >= COUNT_EVERY_S:
            self._counted = time.monotonic()
            self._count(done)

    def complete(self) -> None:
        """Count all as done; raises as `OnProgress`."""
        self._count(self._total)

    def _count(self, done: int) -> None:
        job = self._store.count(self._id, done, self._total, time.monotonic() - self._began)
        if job.is_finished:
            raise JobStoppedError
        self._show(job)
