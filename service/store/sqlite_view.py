"""Everything that is read from the SQLite file of a store."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.documents.outline import marks_from
from service.documents.rows import is_unicode
from service.errors import StoreError
from service.store import lexical, value_counts
from service.store.document_rows import SET_ASIDE, VECTOR_DTYPE, json_of
from service.store.filter_sql import condition
from service.store.passage_cache import Key, PassageCache
from service.types import (
    Candidate,
    Counts,
    Document,
    Facet,
    FacetsAsked,
    Filters,
    GenerationRecord,
    Ids,
    IndexIdentity,
    Span,
    StagedDocument,
    StoredDocument,
    StoredPassage,
    StoredRow,
    Vectors,
)

_LATEST = (
    "(staged = 1 OR NOT EXISTS "
    "(SELECT 1 FROM documents AS newer WHERE newer.id = documents.id AND newer.staged = 1))"
)
"""True for the row that was written last among those of one id."""

_DOCUMENT = "id, text, title, metadata, outline"
_WAITS = "staged = 1 AND problem IS NULL"


@dataclass(frozen=True, slots=True)
class SqliteView:
    """A `StoreView`: a read transaction."""

    connection: sqlite3.Connection
    cache: PassageCache = field(default_factory=PassageCache)
    """Of the store."""

    def _value(self, query: str, *parameters: object) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self.connection.execute(query, parameters).fetchone()
        return row[0] if row else None

    def _meta(self, name: str) -> Any:
        return self._value("SELECT value FROM meta WHERE name = ?", name)

    @property
    def id(self) -> str:
        return str(self._meta("id"))

    @property
    def revision(self) -> int:
        return int(self._meta("revision"))

    @property
    def identity(self) -> IndexIdentity | None:
        stored = self._meta("index_identity")
        return IndexIdentity(**json.loads(stored)) if stored else None

    @property
    def generation(self) -> GenerationRecord | None:
        row = self.connection.execute("SELECT name, revision, created FROM generations").fetchone()
        if row is None:
            return None
        name, revision, created = row
        files = self.connection.execute(
            "SELECT file, sha256 FROM generation_files WHERE generation = ?", [name]
        )
        return GenerationRecord(name, revision, datetime.fromisoformat(created), dict(files))

    @property
    def counts(self) -> Counts:
        # Triggers keep these: counting would read the whole table after each write.
        return Counts(self._meta("documents"), self._meta("passages"))

    @property
    def written(self) -> int:
        return int(self._value("SELECT count(DISTINCT id) FROM documents"))

    @property
    def unseen(self) -> tuple[int, int]:
        waiting, failed = self.connection.execute(
            "SELECT count(*) FILTER (WHERE problem IS NULL), "
            "count(*) FILTER (WHERE problem IS NOT NULL) FROM documents WHERE staged = 1"
        ).fetchone()
        return waiting, failed

    @property
    def last_passage(self) -> int:
        return self._value("SELECT max(id) FROM passages") or 0

    def note(self, name: str) -> str | None:
        note: str | None = self._meta(f"note:{name}")
        return note

    def vectors(self, batch: int, after: int = 0) -> Iterator[tuple[Ids, Vectors]]:
        dimension = self._dimension
        cursor = self.connection.execute(
            "SELECT id, vector FROM passages WHERE id > ? ORDER BY id", [after]
        )
        while rows := cursor.fetchmany(batch):
            yield _as_arrays(rows, dimension)

    def cosines(self, ids: Collection[int], vector: NDArray[np.float32]) -> dict[int, float]:
        rows = self.connection.execute(
            "SELECT id, vector FROM passages WHERE id IN (SELECT value FROM json_each(?))",
            [json_of(ids)],
        ).fetchall()
        if not rows:
            return {}
        found, stored = _as_arrays(rows, self._dimension)
        # As the index has it.
        products = (stored.astype(np.float64) * vector.astype(np.float64)).sum(axis=1)
        return dict(zip(found.tolist(), products.clip(-1.0, 1.0).tolist(), strict=True))

    @property
    def _dimension(self) -> int:
        identity = self.identity
        return identity.dimension if identity else 0

    def matching(self, text: str, count: int, allowed: Ids | None = None) -> list[Candidate]:
        return lexical.search(self.connection, text, count, allowed)

    def removed(self, after: int = 0) -> tuple[Ids, int]:
        rows = self.connection.execute(
            "SELECT sequence, passage FROM removed WHERE sequence > ? ORDER BY sequence", [after]
        ).fetchall()
        ids = np.unique(np.array([passage for _, passage in rows], np.int64))
        if rows:
            return ids, rows[-1][0]
        # The last entry may have been cut off with all others. SQLite remembers its number.
        last = self._value("SELECT seq FROM sqlite_sequence WHERE name = 'removed'")
        return ids, max(after, last or 0)

    def changes_since(self, passage: int) -> int:
        # By the greatest id: counting the passages would read their vectors' pages.
        removed = self._value("SELECT count(*) FROM removed")
        return max(0, self.last_passage - passage) + int(removed)

    def passages(self, ids: Collection[int]) -> dict[int, StoredPassage]:
        rows = self.connection.execute(
            'SELECT passages.id, version, number, start, "end" '
            "FROM passages JOIN documents ON number = document "
            "WHERE passages.id IN (SELECT value FROM json_each(?))",
            [json_of([int(id_) for id_ in ids])],
        ).fetchall()
        known = self.cache.get((id_, version) for id_, version, *_ in rows)
        if missing := [row for row in rows if row[0] not in known]:
            read = self._read_passages(missing)
            self.cache.put(read)
            known |= {passage.id: passage for _, passage in read}
        return {id_: known[id_] for id_, *_ in rows}

    def _read_passages(
        self, rows: Sequence[tuple[int, int, int, int, int]]
    ) -> list[tuple[Key, StoredPassage]]:
        """Passages of (id, document's version and number, start, end)."""
        documents = {
            number: (_document(*document), title_end, headings_end)
            for number, title_end, headings_end, *document in self.connection.execute(
                f"SELECT number, title_end, headings_end, {_DOCUMENT} FROM documents "  # noqa: S608
                "WHERE number IN (SELECT value FROM json_each(?))",
                [json_of({number for _, _, number, _, _ in rows})],
            )
        }
        passages = []
        for id_, version, number, start, end in rows:
            document, title_end, headings_end = documents[number]
            # Cut here and not by SQL's substr, which ends at a NUL character.
            text = document.text[start:end]
            passage = StoredPassage(
                id_,
                document.id,
                document.title,
                text,
                start,
                end,
                document.metadata,
                title_end,
                document.place(start),
                headings_end,
            )
            passages.append(((id_, version), passage))
        return passages

    def allowed(self, filters: Filters) -> Ids:
        where = condition(filters, "document")
        # All ids in one text: as rows they take two to six times as long. Sorted afterwards, as
        # SQLite would go through the vectors for their order. `where` has names of ours and
        # question marks only.
        text = self._value(
            f"SELECT group_concat(id) FROM passages WHERE {where.sql}",  # noqa: S608
            *where.parameters,
        )
        ids = np.fromstring(text or "", np.int64, sep=",")
        ids.sort()
        return ids

    def count(self, filters: Filters) -> int:
        return value_counts.count(self.connection, filters)

    def facets(self, asked: FacetsAsked, filters: Filters) -> dict[str, Facet]:
        return value_counts.facets(self.connection, asked, filters)

    def fields(self, filters: Filters, most: int) -> dict[str, dict[str, int]]:
        return value_counts.fields(self.connection, filters, most)

    def within(self, seconds: float) -> AbstractContextManager[None]:
        return value_counts.within(self.connection, seconds)

    def content_hashes(self, ids: Collection[str]) -> dict[str, str]:
        query = (
            "SELECT id, content_hash FROM documents "  # noqa: S608
            f"WHERE id = ? AND staged = 0 AND {_LATEST}"
        )
        # One by one: SQL's `json_each` ends a text at its first NUL character.
        return dict(
            row for id_ in filter(is_unicode, ids) for row in self.connection.execute(query, [id_])
        )

    def document(self, id_: str) -> StoredDocument | None:
        if not is_unicode(id_):
            return None
        row = self.connection.execute(
            f"SELECT version, staged, problem, title_end, {_DOCUMENT} FROM documents "  # noqa: S608
            "WHERE id = ? ORDER BY staged DESC LIMIT 1",
            [id_],
        ).fetchone()
        if row is None:
            return None
        version, staged, problem, title_end, *columns = row
        document = _document(*columns)
        title = document.title
        if problem is None and title_end is not None and title_end < len(title.rstrip()):
            problem = (
                f"the models read the first {title_end} of the title's {len(title)} characters: "
                "a title gets at most a quarter of a passage's window"
            )
        return StoredDocument(document, version, not staged, problem)

    def satisfying(self, ids: Collection[str], filters: Filters) -> set[str]:
        where = condition(filters, "documents.number", one_row=True)
        query = f"SELECT id FROM documents WHERE id = ? AND {_LATEST} AND {where.sql}"  # noqa: S608
        found = (
            self.connection.execute(query, [id_, *where.parameters]).fetchone()
            for id_ in filter(is_unicode, ids)
        )
        return {row[0] for row in found if row}

    def documents(self, filters: Filters, after: str, limit: int) -> Iterator[StoredDocument]:
        for id_ in self.ids(filters, after, limit):
            if (stored := self.document(id_)) is not None:
                yield stored

    def ids(self, filters: Filters, after: str, limit: int) -> list[str]:
        # The plus sign keeps SQLite from reading and sorting everything that a wide filter keeps:
        # it goes through the ids in their order and stops at the limit.
        where = condition(filters, "+number")
        rows = self.connection.execute(
            f"SELECT id FROM documents WHERE id > ? AND {where.sql} AND {_LATEST} "  # noqa: S608
            "ORDER BY id LIMIT ?",
            [after, *where.parameters, limit],
        )
        return [id_ for (id_,) in rows]

    def still_staged(self, versions: Collection[int]) -> bool:
        found = self._value(
            f"SELECT 1 FROM documents WHERE {_WAITS} "  # noqa: S608
            "AND version IN (SELECT value FROM json_each(?)) LIMIT 1",
            json_of(versions),
        )
        return found is not None

    def waiting(self, limit: int, *, newest: bool = False, after: int = 0) -> list[StagedDocument]:
        rows = self.connection.execute(
            f"SELECT version, {_DOCUMENT} FROM documents "  # noqa: S608
            f"WHERE {_WAITS} AND version > ? "
            "AND number NOT IN (SELECT document FROM unfinished) "
            f"ORDER BY version {'DESC' if newest else ''} LIMIT ?",
            [after, limit],
        )
        return [StagedDocument(_document(*columns), version) for version, *columns in rows]

    def next_long(self, *, shortest: bool) -> tuple[StagedDocument, int] | None:
        # By number first: sorted beside them, SQLite would read the texts of all of them. The cross
        # join begins with these few, not with all that waits.
        row = self.connection.execute(
            f"SELECT version, {_DOCUMENT}, "  # noqa: S608
            "(SELECT count(*) FROM unfinished_passages WHERE document = number) "
            "FROM documents WHERE number = "
            "(SELECT number FROM unfinished CROSS JOIN documents ON number = document "
            f"WHERE {_WAITS} ORDER BY {'chars, ' if shortest else ''} version LIMIT 1)"
        ).fetchone()
        if row is None:
            return None
        version, *columns, kept = row
        return StagedDocument(_document(*columns), version), kept

    def slices(self, staged: StagedDocument) -> tuple[list[Span], Vectors]:
        return self._spans_and_vectors(
            'SELECT start, "end", ordinal, vector FROM unfinished_passages '  # noqa: S608
            f"WHERE document = {SET_ASIDE} ORDER BY ordinal",
            staged.document.id,
            staged.version,
        )

    def rows(self) -> Iterator[StoredRow]:
        found = self.connection.execute(
            f"SELECT number, version, staged, title_end, headings_end, {_DOCUMENT} "  # noqa: S608
            "FROM documents ORDER BY number"
        )
        for number, version, staged, title_end, headings_end, *columns in found:
            spans, vectors = self._spans_and_vectors(
                'SELECT start, "end", id, vector FROM passages WHERE document = ? ORDER BY ordinal',
                number,
            )
            document = _document(*columns)
            yield StoredRow(
                document, version, bool(staged), spans, vectors, title_end, headings_end
            )

    def _spans_and_vectors(self, query: str, *parameters: object) -> tuple[list[Span], Vectors]:
        rows = self.connection.execute(query, parameters).fetchall()
        _, vectors = _as_arrays([passage for _, _, *passage in rows], self._dimension)
        return [Span(start, end) for start, end, *_ in rows], vectors


def _document(id_: str, text: str, title: str, metadata: str, outline: str | None) -> Document:
    marks = marks_from(json.loads(outline)) if outline else ()
    return Document(id_, text, title, json.loads(metadata), marks)


def _as_arrays(rows: Sequence[Sequence[Any]], dimension: int) -> tuple[Ids, Vectors]:
    ids, blobs = [id_ for id_, _ in rows], [blob for _, blob in rows]
    if any(len(blob) != dimension * VECTOR_DTYPE.itemsize for blob in blobs):
        raise StoreError(
            f"the store is damaged: a vector among passages {ids[0]} to {ids[-1]} does not "
            f"have {dimension} dimensions; restore it from a backup"
        )
    flat = np.frombuffer(b"".join(blobs), VECTOR_DTYPE).astype(np.float32)
    return np.array(ids, np.int64), flat.reshape(len(ids), dimension)
