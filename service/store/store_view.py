"""The store at one moment: everything that is read from it."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.errors import StoreError
from service.store import index_identity, lexical
from service.store.document_rows import VECTOR_DTYPE, json_of
from service.store.filter_sql import condition
from service.store.metadata_values import is_unicode
from service.store.records import Counts, StoredDocument
from service.types import (
    Candidate,
    Document,
    Filters,
    Ids,
    IndexIdentity,
    StoredPassage,
    Vectors,
)

_LATEST = (
    "(staged = 1 OR NOT EXISTS "
    "(SELECT 1 FROM documents AS newer WHERE newer.id = documents.id AND newer.staged = 1))"
)
"""True for the row that was written last among those of one id."""


@dataclass(frozen=True, slots=True)
class StoreView:
    """A read transaction: whatever is written meanwhile, it stays as it is. For one thread.

    Every method may raise `StoreError`.
    """

    connection: sqlite3.Connection

    @property
    def id(self) -> str:
        """What no other store has."""
        row = self.connection.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()
        return str(row[0])

    @property
    def revision(self) -> int:
        """A number that grows with each write."""
        row = self.connection.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()
        return int(row[0])

    @property
    def last_passage(self) -> int:
        """The greatest id of a passage; 0 where there is none."""
        row = self.connection.execute("SELECT coalesce(max(id), 0) FROM passages").fetchone()
        return int(row[0])

    @property
    def counts(self) -> Counts:
        """How many documents and passages searches can see."""
        # As the triggers keep them: to count would read all of the table after each write.
        row = self.connection.execute(
            "SELECT (SELECT value FROM meta WHERE name = 'documents'), "
            "(SELECT value FROM meta WHERE name = 'passages')"
        ).fetchone()
        return Counts(*row)

    @property
    def written(self) -> int:
        """Documents that are there, whether searches can see them or not."""
        row = self.connection.execute("SELECT count(DISTINCT id) FROM documents").fetchone()
        return int(row[0])

    @property
    def unseen(self) -> tuple[int, int]:
        """Documents whose last version waits to be encoded, and those that could not be."""
        row = self.connection.execute(
            "SELECT count(*) FILTER (WHERE problem IS NULL), "
            "count(*) FILTER (WHERE problem IS NOT NULL) FROM documents WHERE staged = 1"
        ).fetchone()
        return int(row[0]), int(row[1])

    @property
    def identity(self) -> IndexIdentity | None:
        """The encoder that made the vectors; None before the first."""
        return index_identity.read(self.connection)

    def vectors(self, batch: int, after: int = 0) -> Iterator[tuple[Ids, Vectors]]:
        """Passages with ids over `after`, ascending: int64 (n,), float32 (n, dim); n <= `batch`."""
        identity = self.identity
        dimension = identity.dimension if identity else 0
        cursor = self.connection.execute(
            "SELECT id, vector FROM passages WHERE id > ? ORDER BY id", [after]
        )
        while rows := cursor.fetchmany(batch):
            yield _as_arrays(rows, dimension)

    def cosines(self, ids: Collection[int], vector: NDArray[np.float32]) -> dict[int, float]:
        """Of those among `ids` that are here the cosine with a unit vector, as the index has it."""
        identity = self.identity
        rows = self.connection.execute(
            "SELECT id, vector FROM passages WHERE id IN (SELECT value FROM json_each(?))",
            [json_of(ids)],
        ).fetchall()
        if not rows or identity is None:
            return {}
        found, stored = _as_arrays(rows, identity.dimension)
        products = (stored.astype(np.float64) * vector.astype(np.float64)).sum(axis=1)
        return dict(zip(found.tolist(), products.clip(-1.0, 1.0).tolist(), strict=True))

    def matching(self, text: str, count: int, allowed: Ids | None = None) -> list[Candidate]:
        """At most `count` passages by BM25, among `allowed`: see `service.store.lexical`."""
        return lexical.search(self.connection, text, count, allowed)

    def removed(self, after: int = 0) -> tuple[Ids, int]:
        """Passages that went, in entries above `after` of the list, and the last entry's number.

        That one may have been cut off with all the others.
        """
        rows = self.connection.execute(
            "SELECT sequence, passage FROM removed WHERE sequence > ? ORDER BY sequence", [after]
        ).fetchall()
        ids = np.unique(np.array([passage for _, passage in rows], np.int64))
        return ids, rows[-1][0] if rows else max(after, self._last_removed)

    @property
    def _last_removed(self) -> int:
        """The greatest number that an entry in the list ever had; there is none without one."""
        row = self.connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'removed'"
        ).fetchone()
        return row[0] if row else 0

    @property
    def generation_name(self) -> str | None:
        """Of the index that is current; the list of removed passages begins with it."""
        row = self.connection.execute("SELECT name FROM generations").fetchone()
        return row[0] if row else None

    def changes_since(self, passage: int) -> int:
        """At least as many passages as came since `passage`, the greatest id then, or went.

        By the greatest id now: to count them would read their vectors' pages.
        """
        row = self.connection.execute(
            "SELECT max(0, coalesce((SELECT max(id) FROM passages), 0) - ?) "
            "+ (SELECT count(*) FROM removed)",
            [passage],
        ).fetchone()
        return int(row[0])

    def passages(self, ids: Collection[int]) -> dict[int, StoredPassage]:
        """The passages among `ids` that are here."""
        rows = self.connection.execute(
            'SELECT id, document, start, "end" FROM passages '
            "WHERE id IN (SELECT value FROM json_each(?))",
            [json_of([int(id_) for id_ in ids])],
        ).fetchall()
        documents = {
            number: (Document(id_, text, title, json.loads(metadata)), title_end)
            for number, id_, title, title_end, metadata, text in self.connection.execute(
                "SELECT number, id, title, title_end, metadata, text FROM documents "
                "WHERE number IN (SELECT value FROM json_each(?))",
                [json_of({number for _, number, _, _ in rows})],
            )
        }
        # Cut here and not by SQL's substr, which ends at a NUL character.
        return {
            id_: StoredPassage(
                id=id_,
                document_id=(document := documents[number][0]).id,
                title=document.title,
                text=document.text[start:end],
                start=start,
                end=end,
                metadata=document.metadata,
                title_end=documents[number][1],
            )
            for id_, number, start, end in rows
        }

    def allowed(self, filters: Filters) -> Ids:
        """Ids, ascending, of the passages whose document satisfies `filters`; of all without any.

        Raises `InvalidInputError` for what is no filter or beyond the limits.
        """
        where = condition(filters, "document")
        # All ids in one text: as rows they take two to six times as long. Sorted afterwards, as
        # SQLite would go through the vectors for their order. `where` has names of ours and
        # question marks only.
        (text,) = self.connection.execute(
            f"SELECT group_concat(id) FROM passages WHERE {where.sql}",  # noqa: S608
            where.parameters,
        ).fetchone()
        ids = np.fromstring(text or "", np.int64, sep=",")
        ids.sort()
        return ids

    def content_hashes(self, ids: Collection[str]) -> dict[str, str]:
        """`content_hash` of those among `ids` that searches see as they were last written."""
        query = (
            "SELECT id, content_hash FROM documents "  # noqa: S608
            f"WHERE id = ? AND staged = 0 AND {_LATEST}"
        )
        # One by one: SQL's `json_each` ends a text at its first NUL character.
        return dict(
            row for id_ in filter(is_unicode, ids) for row in self.connection.execute(query, [id_])
        )

    def document(self, id_: str) -> StoredDocument | None:
        """The document as it was last written, or None."""
        if not is_unicode(id_):
            return None
        row = self.connection.execute(
            "SELECT id, text, title, metadata, version, staged, problem, title_end FROM documents "
            "WHERE id = ? ORDER BY staged DESC LIMIT 1",
            [id_],
        ).fetchone()
        return _stored(row) if row else None

    def documents(self, filters: Filters, after: str, limit: int) -> Iterator[StoredDocument]:
        """At most `limit` documents as they were last written, in the order of their ids.

        As `ids`; each is read when it is asked for.
        """
        for id_ in self.ids(filters, after, limit):
            if (stored := self.document(id_)) is not None:
                yield stored

    def ids(self, filters: Filters, after: str, limit: int) -> list[str]:
        """Ids, ascending, of at most `limit` documents whose last version satisfies `filters`.

        From the first that is greater than `after`; ids are ordered by their UTF-8 bytes.
        """
        # The plus sign keeps SQLite from reading and sorting all that a wide filter keeps: it goes
        # through the ids in their order and stops at the limit.
        where = condition(filters, "+number")
        rows = self.connection.execute(
            f"SELECT id FROM documents WHERE id > ? AND {where.sql} AND {_LATEST} "  # noqa: S608
            "ORDER BY id LIMIT ?",
            [after, *where.parameters, limit],
        )
        return [id_ for (id_,) in rows]

    def still_staged(self, versions: Collection[int]) -> bool:
        """Does a document that was written at one of `versions` still wait?"""
        row = self.connection.execute(
            "SELECT 1 FROM documents WHERE staged = 1 AND problem IS NULL "
            "AND version IN (SELECT value FROM json_each(?)) LIMIT 1",
            [json_of(versions)],
        ).fetchone()
        return row is not None


def _as_arrays(rows: Sequence[tuple[int, bytes]], dimension: int) -> tuple[Ids, Vectors]:
    ids, blobs = zip(*rows, strict=True)
    if set(map(len, blobs)) != {dimension * VECTOR_DTYPE.itemsize}:
        raise StoreError(
            f"the store is damaged: a vector among passages {ids[0]} to {ids[-1]} does not "
            f"have {dimension} dimensions; restore it from a backup"
        )
    flat = np.frombuffer(b"".join(blobs), VECTOR_DTYPE).astype(np.float32)
    return np.array(ids, np.int64), flat.reshape(-1, dimension)


def _stored(row: tuple[str, str, str, str, int, int, str | None, int | None]) -> StoredDocument:
    id_, text, title, metadata, version, staged, problem, title_end = row
    if problem is None and title_end is not None and title_end < len(title.rstrip()):
        problem = (
            f"the models read the first {title_end} of the title's {len(title)} characters: "
            "a title gets at most a quarter of a passage's window"
        )
    return StoredDocument(
        Document(id_, text, title, json.loads(metadata)), version, not staged, problem
    )
