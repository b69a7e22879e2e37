"""Documents are written, read and deleted while searches run."""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from service.errors import DeadlineError, StoreFullError
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline
from service.scheduling.shares import SHARES, one_caller
from service.store_protocol import Store, StoreView
from service.types import (
    Document,
    Expectation,
    Expectations,
    Filters,
    Metadata,
    StoredDocument,
    Written,
)
from service.write.indexer import Indexer

T = TypeVar("T")

_DELETED_TOGETHER = 1000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.16
"""Between two checks of `wait`. Pauses double, because many writers may wait."""
_PAGE_CHARS = 8_000_000
"""The most characters of a page, in texts, titles and metadata together."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents in the order of their ids; `after` leads to the next page, None at the end."""

    documents: list[StoredDocument]
    after: str | None


class Documents:
    """The documents of one collection, for one event loop. A write that returns is on the disk.

    Every method may raise `StoreError`.
    """

    def __init__(self, store: Store, indexer: Indexer) -> None:
        self._store, self._indexer = store, indexer
        self._writer, self._reader = OwnerThread("writer"), OwnerThread("reader")
        self._preparer = OwnerThread("preparer")
        self._counter = OwnerThread("counter")  # it may go through everything that is stored

    async def prepare(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Run what a large write needs before its transaction, one at a time.

        A few of them in threads of their own would keep every small write waiting for the
        interpreter's lock. Raises `DeadlineError`.
        """
        return await self._run(self._preparer, deadline, work)

    async def put(
        self,
        documents: Sequence[Document],
        deadline: Deadline,
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> list[Written]:
        """Store all or none; searches see them once they are encoded.

        If several share an id, the last one wins. Raises `VersionConflictError` if a condition in
        `expected` is not met, `ForbiddenError` as `Store.stage` does, and `InvalidInputError` for
        metadata that cannot be stored.
        """
        if len(documents) == 1:
            stage = partial(self._store.stage, documents, expected, within)
            return await self._write(deadline, stage)
        write = await self.prepare(
            deadline, partial(self._store.staging, documents, expected, within)
        )
        return await self._write(deadline, write)

    async def patch(
        self,
        id_: str,
        changes: Metadata,
        deadline: Deadline,
        expected: Expectation | None = None,
        within: Filters | None = None,
    ) -> Written:
        """Change a document's metadata; raises as `Store.patch`."""
        return await self._write(
            deadline, partial(self._store.patch, id_, changes, expected, within)
        )

    async def delete(
        self,
        ids: Collection[str],
        deadline: Deadline,
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> int:
        """Remove documents that satisfy `within`, from searches too; returns how many."""
        return await self._write(deadline, partial(self._store.delete, ids, expected, within))

    async def delete_matching(self, filters: Filters, deadline: Deadline) -> int:
        """Remove all documents that satisfy `filters`, a thousand in a transaction.

        On a full disk fewer, so that the space reserved for deletes is enough.
        """
        removed, lot = 0, _DELETED_TOGETHER
        while True:
            try:
                some = await self._write(
                    deadline, partial(self._store.delete_matching, filters, lot)
                )
            except StoreFullError:
                if lot == 1:
                    raise
                lot = max(1, lot // 10)
                continue
            if not some:
                return removed
            removed += some

    async def get(
        self, id_: str, deadline: Deadline, within: Filters | None = None
    ) -> StoredDocument | None:
        """The document as it was last written, if it satisfies `within`."""

        def read() -> StoredDocument | None:
            with self._store.view() as store:
                hidden = within and not store.satisfying([id_], within)
                return None if hidden else store.document(id_)

        return await self._run(self._reader, deadline, read)

    async def count(self, filters: Filters, deadline: Deadline) -> int:
        """Documents that searches see and that satisfy `filters`; raises as `page`."""
        return await self._counted(deadline, lambda store: store.count(filters))

    async def fields(
        self, filters: Filters, most: int, deadline: Deadline
    ) -> dict[str, dict[str, int]]:
        """What `StoreView.fields` says of these documents; raises as `page`."""
        return await self._counted(deadline, lambda store: store.fields(filters, most))

    async def _counted(self, deadline: Deadline, count: Callable[[StoreView], T]) -> T:
        def work() -> T:
            with self._store.view() as store, store.within(deadline.left()):
                return count(store)

        return await self._run(self._counter, deadline, work)

    async def page(self, filters: Filters, after: str, limit: int, deadline: Deadline) -> Page:
        """At most `limit` documents whose id is greater than `after`, as they were last written.

        Fewer if they are long. Raises `InvalidInputError` for a filter that exceeds its limits.
        """

        def read() -> Page:
            page: list[StoredDocument] = []
            chars = 0
            with self._store.view() as store:
                for stored in store.documents(filters, after, limit + 1):
                    chars += _chars(stored.document)
                    if len(page) == limit or (page and chars > _PAGE_CHARS):
                        return Page(page, page[-1].document.id)
                    page.append(stored)
            return Page(page, None)

        return await self._run(self._reader, deadline, read)

    async def wait(self, versions: Collection[int], patience: Deadline, deadline: Deadline) -> bool:
        """Wait until searches see what was written at `versions`; False if `patience` runs out.

        Without patience this checks once, and gives False if that cannot be done by `deadline`.
        """
        pause, limit = _FIRST_PAUSE_S, patience if patience.left() else deadline
        try:
            while await self._reader.run(limit, lambda: self._indexer.waits(versions)):
                if patience.left() == 0.0:
                    return False
                await asyncio.sleep(min(pause, patience.left()))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        except DeadlineError:  # what was written is stored all the same
            return False
        return True

    def close(self) -> None:
        """Finish what is being written."""
        self._preparer.close()
        self._writer.close()
        self._reader.close()
        self._counter.close()

    async def _run(self, thread: OwnerThread, deadline: Deadline, work: Callable[[], T]) -> T:
        with one_caller() as caller, SHARES.at_work(caller.account):
            return await thread.run(deadline, work)

    async def _write(self, deadline: Deadline, work: Callable[[], T]) -> T:
        done = await self._run(self._writer, deadline, work)
        self._indexer.wake()
        return done


def _chars(document: Document) -> int:
    metadata = json.dumps(document.metadata, ensure_ascii=False)
    return len(document.text) + len(document.title) + len(metadata)
