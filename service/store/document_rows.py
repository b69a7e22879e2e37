"""Documents and their passages as rows of the tables: what write transactions are made of."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, count
from typing import NamedTuple, Self, TypeVar

import numpy as np

from service.documents.rows import is_unicode
from service.errors import InferenceError, InvalidInputError, UnprocessableTextError
from service.store import lexical
from service.store.many_rows import execute_rows
from service.store.metadata_values import MetadataRow, metadata_rows
from service.types import Document, EncodedDocument, StagedDocument, StoredRow, Written

T = TypeVar("T")

VECTOR_DTYPE = np.dtype("<f4")
"""How vectors are stored, on any machine."""

SET_ASIDE = (
    "(SELECT document FROM unfinished JOIN documents ON number = document "
    "WHERE id = ? AND staged = 1 AND version = ?)"
)
"""The row's number of a staged document that is encoded in slices; NULL for any other."""


class DocumentRow(NamedTuple):
    """A document with all that its row and its metadata's rows need.

    It is made before the transaction, because other writers wait while one is under way.
    """

    document: Document
    content_hash: str
    metadata: str
    outline: str | None
    values: list[MetadataRow]

    @classmethod
    def of(cls, document: Document) -> Self:
        """Raise `InvalidInputError` for what cannot be stored unchanged."""
        for field, text in (
            ("id", document.id),
            ("title", document.title),
            ("text", document.text),
        ):
            if not is_unicode(text):
                raise UnprocessableTextError(f"{field} is not valid Unicode", field)
        values = metadata_rows(document.metadata)
        metadata = json.dumps(document.metadata, ensure_ascii=False)
        outline = json.dumps(document.outline, ensure_ascii=False) if document.outline else None
        return cls(document, document.content_hash, metadata, outline, values)


class PassageRows(NamedTuple):
    """A document's passages and the words that each is found by, made before the transaction."""

    encoded: EncodedDocument
    words: list[str]

    @classmethod
    def of(cls, encoded: EncodedDocument) -> Self:
        document = encoded.document
        words = []
        for start, end in encoded.spans:
            before = document.place(start).under(document.title)
            words.append(lexical.words(before, document.text[start:end]))
        return cls(encoded, words)


def check_passages(row: EncodedDocument, dimension: int) -> None:
    """Raise `InferenceError` or `ValueError` for passages that do not fit text or encoder."""
    document, spans, vectors = row[:3]
    if vectors.shape != (len(spans), dimension) or vectors.dtype != np.float32:
        raise ValueError(
            f"document {document.id!r}: vectors are {vectors.dtype} {vectors.shape}, "
            f"wanted float32 {(len(spans), dimension)}"
        )
    if not np.isfinite(vectors).all():
        raise InferenceError(f"document {document.id!r}: a vector is not finite")
    if any(not 0 <= start <= end <= len(document.text) for start, end in spans):
        raise ValueError(f"document {document.id!r}: a span reaches beyond the text")
    if row.title_end is not None and not 0 <= row.title_end <= len(document.title):
        raise ValueError(f"document {document.id!r}: title_end reaches beyond the title")


def put_documents(
    connection: sqlite3.Connection, rows: Sequence[tuple[DocumentRow, PassageRows]]
) -> list[list[int]]:
    """Write rows in place of both versions of each document; returns the passages' new ids."""
    made: list[list[int]] = []
    for lot in _distinct(rows, lambda row: row[0].document.id):
        documents = [row for row, _ in lot]
        execute_rows(
            connection,
            "DELETE FROM documents WHERE id IN (VALUES {rows})",
            [[row.document.id] for row in documents],
        )
        versions = _next_versions(connection, len(lot))
        numbers = _insert_documents(connection, documents, versions, staged=False)
        made += _insert_passages(connection, numbers, [passages for _, passages in lot])
    return made


def restore_row(connection: sqlite3.Connection, row: StoredRow, dimension: int) -> None:
    """Write a row with its own version.

    Raises `InvalidInputError` for what cannot be stored, and for a second row of one kind and id.
    """
    document = row.document
    encoded = EncodedDocument(
        document, row.spans, row.vectors, row.title_end, headings_end=row.headings_end
    )
    prepared = DocumentRow.of(document)
    try:
        check_passages(encoded, dimension)
    except ValueError as error:
        raise InvalidInputError(str(error)) from error
    if row.staged and row.spans:
        raise InvalidInputError(f"document {document.id!r} is staged and has passages")
    try:
        numbers = _insert_documents(connection, [prepared], [row.version], staged=row.staged)
    except sqlite3.IntegrityError as error:
        raise InvalidInputError(f"document {document.id!r} is there twice") from error
    _insert_passages(connection, numbers, [PassageRows.of(encoded)])


def stage_documents(connection: sqlite3.Connection, rows: Sequence[DocumentRow]) -> list[Written]:
    """Write documents for later encoding; searches see the previous versions until then.

    Where only the metadata is new, nothing is to be encoded and searches see it at once.
    """
    lots = _distinct(rows, lambda row: row.document.id)
    return [written for lot in lots for written in _stage(connection, lot)]


def publish_documents(
    connection: sqlite3.Connection, rows: Sequence[tuple[StagedDocument, PassageRows]]
) -> list[list[int]]:
    """Let searches see staged documents, except those that were written again or deleted.

    Returns the ids of the passages of each.
    """
    asked = [(place, one.document.id, one.version) for place, (one, _) in enumerate(rows)]
    [(found,)] = execute_rows(
        connection,
        "SELECT json_group_array(json_array(column1, number)) FROM (VALUES {rows}) "
        "JOIN documents ON id = column2 AND staged = 1 AND version = column3",
        asked,
    ) or [("[]",)]
    there = sorted(json.loads(found))
    execute_rows(
        connection,
        "DELETE FROM documents WHERE staged = 0 AND id IN (VALUES {rows})",
        [[asked[place][1]] for place, _ in there],
    )
    numbers = [number for _, number in there]
    each = [[number] for number in numbers]
    execute_rows(
        connection,
        "UPDATE documents SET staged = 0, problem = NULL WHERE number IN (VALUES {rows})",
        each,
    )
    execute_rows(connection, "DELETE FROM unfinished WHERE document IN (VALUES {rows})", each)
    made: list[list[int]] = [[] for _ in rows]
    passages = _insert_passages(connection, numbers, [rows[place][1] for place, _ in there])
    for (place, _), ids in zip(there, passages, strict=True):
        made[place] = ids
    return made


def passage_rows(
    number: int, row: EncodedDocument, first: int = 0
) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Rows of passages, the first of them at place `first` of the document with this number."""
    for place, (span, vector) in enumerate(zip(row.spans, row.vectors, strict=True), first):
        yield number, place, span.start, span.end, vector.astype(VECTOR_DTYPE).tobytes()


def next_version(connection: sqlite3.Connection) -> int:
    """Count the store's revision up by one and return it."""
    return _next_versions(connection, 1)[0]


def json_of(values: Collection[int]) -> str:
    """Values for SQL's `json_each`, which takes any number of them as one parameter."""
    return json.dumps(list(values))


class _Stored(NamedTuple):
    """A stored version of a document, compared with the one that comes."""

    number: int
    version: int
    equal: bool
    same_text: bool
    sound: bool


def _stored(
    connection: sqlite3.Connection, rows: Sequence[DocumentRow]
) -> list[dict[bool, _Stored]]:
    """The versions that are stored of each document: False the one that searches see, True the
    one that is staged."""
    # Text is compared in SQL and the answer is one row: each further one is a further step.
    [(found,)] = execute_rows(
        connection,
        "SELECT json_group_array(json_array(column1, staged, number, version, "
        "content_hash = column3, title = column4 AND text = column5 AND outline IS column6, "
        "problem IS NULL)) "
        "FROM (VALUES {rows}) JOIN documents ON id = column2",
        [
            (place, d.id, row.content_hash, d.title, d.text, row.outline)
            for place, row in enumerate(rows)
            for d in [row.document]
        ],
    )
    stored: list[dict[bool, _Stored]] = [{} for _ in rows]
    for place, staged, number, version, *same in json.loads(found):
        stored[place][bool(staged)] = _Stored(number, version, *map(bool, same))
    return stored


def _stage(connection: sqlite3.Connection, rows: Sequence[DocumentRow]) -> list[Written]:
    """`stage_documents`, where no id occurs twice."""
    stored = _stored(connection, rows)
    last = [versions.get(True) or versions.get(False) for versions in stored]
    changed = [place for place, one in enumerate(last) if not (one and one.equal and one.sound)]
    versions = dict(zip(changed, _next_versions(connection, len(changed)), strict=True))
    new, replaced, kept = [], [], []
    for place in changed:
        seen, waiting = stored[place].get(False), stored[place].get(True)
        keeps = None
        if seen and seen.same_text:
            keeps = seen
        elif waiting and waiting.same_text and waiting.sound:
            keeps = waiting  # some of its passages may be encoded
        if waiting and keeps is not waiting:
            replaced.append([waiting.number])
        if keeps:
            kept.append((keeps.number, rows[place], versions[place]))
        else:
            new.append(place)
    execute_rows(connection, "DELETE FROM documents WHERE number IN (VALUES {rows})", replaced)
    _replace_metadata(connection, kept)
    fresh = [rows[place] for place in new]
    _insert_documents(connection, fresh, [versions[place] for place in new], staged=True)
    return [
        Written(
            row.document.id,
            versions.get(place, one.version if one else 0),
            created=one is None,
            unchanged=place not in versions,
        )
        for place, (row, one) in enumerate(zip(rows, last, strict=True))
    ]


def _distinct(rows: Sequence[T], id_of: Callable[[T], str]) -> Iterator[list[T]]:
    """The rows in their order, in lots in which no id occurs twice."""
    lot: dict[str, T] = {}
    for row in rows:
        if id_of(row) in lot:
            yield list(lot.values())
            lot = {}
        lot[id_of(row)] = row
    if lot:
        yield list(lot.values())


def _next_versions(connection: sqlite3.Connection, count: int) -> range:
    """Count the store's revision up by `count`; returns the new revisions."""
    row = connection.execute(
        "UPDATE meta SET value = value + ? WHERE name = 'revision' RETURNING value", [count]
    ).fetchone()
    return range(int(row[0]) - count + 1, int(row[0]) + 1)


def _insert_documents(
    connection: sqlite3.Connection,
    rows: Sequence[DocumentRow],
    versions: Sequence[int],
    *,
    staged: bool,
) -> list[int]:
    """New rows with their metadata; returns the rows' numbers."""
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM documents").fetchone()
    numbers = list(range(last + 1, last + 1 + len(rows)))
    execute_rows(
        connection,
        "INSERT INTO documents "
        "(number, id, staged, version, content_hash, title, metadata, outline, text) "
        "VALUES {rows}",
        [
            (
                number,
                row.document.id,
                staged,
                version,
                row.content_hash,
                row.document.title,
                row.metadata,
                row.outline,
                row.document.text,
            )
            for number, version, row in zip(numbers, versions, rows, strict=True)
        ],
    )
    _insert_metadata(connection, numbers, rows)
    return numbers


def _insert_passages(
    connection: sqlite3.Connection, numbers: Sequence[int], documents: Sequence[PassageRows]
) -> list[list[int]]:
    """Write passages with their vectors and words; returns their ids, by document."""
    execute_rows(
        connection,
        "UPDATE documents SET title_end = column2, headings_end = column3 "
        "FROM (VALUES {rows}) WHERE number = column1",
        [
            (number, one.encoded.title_end, one.encoded.headings_end)
            for number, one in zip(numbers, documents, strict=True)
        ],
    )
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'passages'").fetchone()
    fresh = count(int(row[0]) + 1 if row else 1)
    ids = [[next(fresh) for _ in one.words] for one in documents]
    passages = [
        passage
        for number, one in zip(numbers, documents, strict=True)
        for passage in passage_rows(number, one.encoded)
    ]
    flat = list(chain.from_iterable(ids))
    execute_rows(
        connection,
        'INSERT INTO passages (id, document, ordinal, start, "end", vector) VALUES {rows}',
        [(id_, *passage) for id_, passage in zip(flat, passages, strict=True)],
    )
    words = chain.from_iterable(one.words for one in documents)
    lexical.insert(connection, list(zip(flat, words, strict=True)))
    return ids


def _replace_metadata(
    connection: sqlite3.Connection, kept: Sequence[tuple[int, DocumentRow, int]]
) -> None:
    """Give documents, named by their numbers, new metadata and versions."""
    execute_rows(
        connection,
        "UPDATE documents SET metadata = column2, content_hash = column3, version = column4 "
        "FROM (VALUES {rows}) WHERE number = column1",
        [(number, row.metadata, row.content_hash, version) for number, row, version in kept],
    )
    numbers = [number for number, _, _ in kept]
    execute_rows(
        connection,
        "DELETE FROM metadata WHERE document IN (VALUES {rows})",
        [[number] for number in numbers],
    )
    _insert_metadata(connection, numbers, [row for _, row, _ in kept])


def _insert_metadata(
    connection: sqlite3.Connection, numbers: Sequence[int], rows: Sequence[DocumentRow]
) -> None:
    execute_rows(
        connection,
        "INSERT OR IGNORE INTO metadata VALUES {rows}",
        [(*value, n) for n, row in zip(numbers, rows, strict=True) for value in row.values],
    )
