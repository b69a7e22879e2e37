"""The contract of the store: what it is asked, and what it is told."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.types import (
    Candidate,
    Counts,
    Document,
    EncodedDocument,
    Expectation,
    Expectations,
    Facet,
    FacetsAsked,
    Filters,
    GenerationRecord,
    Ids,
    IndexIdentity,
    Metadata,
    Span,
    StagedDocument,
    StoredDocument,
    StoredPassage,
    StoredRow,
    Vectors,
    Written,
)


class StoreView(Protocol):
    """A store at one moment, for one thread. Every member may raise `StoreError`."""

    @property
    def id(self) -> str:
        """Different for any two stores."""

    @property
    def revision(self) -> int:
        """Grows with each write of documents."""

    @property
    def identity(self) -> IndexIdentity | None:
        """What decided the vectors; None before `Store.set_identity`."""

    @property
    def generation(self) -> GenerationRecord | None:
        """The current index folder; None before the first. `removed` begins with it."""

    @property
    def counts(self) -> Counts:
        """How many documents and passages searches can see."""

    @property
    def written(self) -> int:
        """Documents, whether searches can see them or not."""

    @property
    def unseen(self) -> tuple[int, int]:
        """Documents whose last version waits to be encoded, and those that could not be."""

    @property
    def last_passage(self) -> int:
        """The greatest passage id; 0 if there is none."""

    def note(self, name: str) -> str | None:
        """What `Store.set_note` kept under this name."""

    def vectors(self, batch: int, after: int = 0) -> Iterator[tuple[Ids, Vectors]]:
        """Passages with ids over `after`, ascending, at most `batch` at a time."""

    def cosines(self, ids: Collection[int], vector: NDArray[np.float32]) -> dict[int, float]:
        """The cosine of each passage in `ids` that exists with a unit vector."""

    def matching(self, text: str, count: int, allowed: Ids | None = None) -> list[Candidate]:
        """At most `count` passages by BM25, the best first; only those in `allowed`, if given."""

    def removed(self, after: int = 0) -> tuple[Ids, int]:
        """Passages removed in entries above `after` of the list, and the last entry's number."""

    def changes_since(self, passage: int) -> int:
        """An upper bound of passages added since `passage` was the greatest id, or removed."""

    def passages(self, ids: Collection[int]) -> dict[int, StoredPassage]:
        """Those of `ids` that exist."""

    def allowed(self, filters: Filters) -> Ids:
        """Ids of passages whose document satisfies `filters`. Raises `InvalidInputError`."""

    def count(self, filters: Filters) -> int:
        """Documents that searches see and that satisfy `filters`. Raises `InvalidInputError`."""

    def facets(self, asked: FacetsAsked, filters: Filters) -> dict[str, Facet]:
        """The values of fields among the documents that `count` counts.

        By falling count, then by value: booleans, numbers, texts.
        """

    def fields(self, filters: Filters, most: int) -> dict[str, dict[str, int]]:
        """The first `most` metadata fields of these documents by name.

        Kind of value -> how many documents have one: `text`, `number`, `boolean` or `date`, whose
        documents are also among those with a text.
        """

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Raise `DeadlineError` from a read in the block that is not done in time."""

    def content_hashes(self, ids: Collection[str]) -> dict[str, str]:
        """`Document.content_hash` of those whose last version searches see."""

    def document(self, id_: str) -> StoredDocument | None:
        """The last version of a document, or None."""

    def satisfying(self, ids: Collection[str], filters: Filters) -> set[str]:
        """Those of `ids` whose last version satisfies `filters`."""

    def documents(self, filters: Filters, after: str, limit: int) -> Iterator[StoredDocument]:
        """At most `limit` last versions that satisfy `filters`, with ids over `after`, in order.

        Reads each when it is asked for. Raises `InvalidInputError` for a wrong filter.
        """

    def still_staged(self, versions: Collection[int]) -> bool:
        """Whether a document that was written at one of `versions` waits to be encoded."""

    def waiting(self, limit: int, *, newest: bool = False, after: int = 0) -> list[StagedDocument]:
        """At most `limit` documents that wait and are not set aside, oldest or newest first.

        Only those whose version is above `after`.
        """

    def next_long(self, *, shortest: bool) -> tuple[StagedDocument, int] | None:
        """The oldest or shortest document set aside, and how many passages `keep_slice` kept."""

    def slices(self, staged: StagedDocument) -> tuple[list[Span], Vectors]:
        """The passages that `keep_slice` kept of a document."""

    def rows(self) -> Iterator[StoredRow]:
        """All versions of all documents, for `Store.restore` of another store."""


class Store(Protocol):
    """Documents, their passages and vectors. Safe to use from many threads.

    Each write is one transaction, on the disk when the method returns; one that raises has changed
    nothing. All methods may raise `StoreError`, `StoreFullError` and `StoreLockedError`.
    """

    def view(self) -> AbstractContextManager[StoreView]:
        """The store at this moment, to read from."""

    def check(self) -> None:
        """Raise `StoreError` where reads fail or writes would be lost."""

    def close(self) -> None:
        """Let the files go."""

    def put(
        self,
        rows: Sequence[EncodedDocument],
        note: tuple[str, str] | None = None,
        staged: Sequence[Document] = (),
    ) -> list[list[int]]:
        """Store `rows` in place of documents with the same ids, where searches see them.

        Returns the passages' new ids for each row. `staged` is stored as by `stage`, and `note`, a
        name and a text, as by `set_note`, in the same transaction. Raises `InvalidInputError` for
        what cannot be stored unchanged, `InferenceError` for a vector that is not finite, and
        `ValueError` for spans and vectors that do not fit.
        """

    def stage(
        self,
        documents: Sequence[Document],
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> list[Written]:
        """Store documents that searches see after `publish`.

        Raises `VersionConflictError` if a condition in `expected` is not met, `ForbiddenError` if
        a document, or the one that it replaces, does not satisfy `within`, and `InvalidInputError`
        for what cannot be stored unchanged.
        """

    def staging(
        self,
        documents: Sequence[Document],
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> Callable[[], list[Written]]:
        """What `stage` does, in two steps, so that other writers do not wait for the first.

        All that needs no transaction is done here; the callable writes. Both raise as `stage`.
        """

    def patch(
        self,
        id_: str,
        changes: Metadata,
        expected: Expectation | None = None,
        within: Filters | None = None,
    ) -> Written:
        """Change the metadata of a document's last version; a null removes a field.

        Nothing is encoded again. Raises `NotFoundError` also for a document that does not satisfy
        `within`, `ForbiddenError` if it no longer would, `VersionConflictError` if `expected` is
        not met, and `InvalidInputError` if the outcome is beyond the limits of metadata.
        """

    def publish(self, rows: Sequence[tuple[StagedDocument, EncodedDocument]]) -> list[list[int]]:
        """Let searches see staged documents, except those written again or deleted meanwhile.

        Returns the passages' ids for each. Raises as `put`.
        """

    def set_problem(self, staged: StagedDocument, problem: str) -> None:
        """Say why a staged document cannot be encoded; it no longer waits."""

    def set_aside(self, documents: Sequence[StagedDocument]) -> None:
        """Let these be encoded in slices, from the first passage on; skips outdated ones."""

    def keep_slice(self, staged: StagedDocument, first: int, encoded: EncodedDocument) -> None:
        """Keep a document's passages from `first` on, unseen by searches; raises as `put`."""

    def delete(
        self,
        ids: Collection[str],
        expected: Expectations | None = None,
        within: Filters | None = None,
    ) -> int:
        """Remove documents; returns how many there were. `expected` is as for `stage`.

        Those that do not satisfy `within` stay, as if they were not there.
        """

    def delete_matching(self, filters: Filters, limit: int) -> int:
        """Remove at most `limit` documents that satisfy `filters`; returns how many."""

    def restore(self, rows: Sequence[StoredRow], revision: int) -> None:
        """Fill an empty store with rows of another one that is at `revision`. Raises as `put`."""

    def set_identity(self, wanted: IndexIdentity) -> None:
        """Store the identity the first time; later raise `IndexMismatchError` for another one."""

    def start_over(self, wanted: IndexIdentity) -> None:
        """Drop all passages and take another identity; all documents stay, staged."""

    def set_note(self, name: str, text: str) -> None:
        """Keep a text under a name, in place of an earlier one."""

    def set_generation(self, record: GenerationRecord, removed: int) -> None:
        """Make `record` the current generation; drop entries up to `removed` from the list."""
