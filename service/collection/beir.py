"""Labelled collections in BEIR's folders: corpus.jsonl, queries.jsonl and qrels.tsv."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.collection.jsonl import read_jsonl
from service.collection.lines import read_json_lines, shown
from service.collection.rows import MAX_CHARS, check_id
from service.errors import InvalidInputError
from service.types import Document, Refused

_QRELS_HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, queries by id, and of each judged query the grades of documents by id."""

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def corpus_file(folder: Path) -> Path:
    """Where a BEIR folder has its documents."""
    return folder / "corpus.jsonl"


def read_beir(folder: Path, *, max_chars: int = MAX_CHARS) -> Collection:
    """The whole collection, named after its folder.

    Judgements are in `qrels.tsv` or, as BEIR has them, `qrels/test.tsv`. Raises
    `InvalidInputError` for the first thing that is wrong, with file, line and field: a file that
    is missing, a bad row, an id that stands there twice, a judgement of an unknown query or
    document, a score that is no integer or contradicts an earlier one.
    """
    documents = _read_documents(_existing(corpus_file(folder)), max_chars)
    queries = _read_queries(_existing(folder / "queries.jsonl"), max_chars)
    qrels = _read_qrels(_qrels_file(folder), queries, {document.id for document in documents})
    return Collection(folder.resolve().name, documents, queries, qrels)


def data_sha256(folder: Path) -> str:
    """SHA-256 of the collection's three files: equal for equal data. Raises as `read_beir`."""
    digest = hashlib.sha256()
    paths = (_existing(corpus_file(folder)), _existing(folder / "queries.jsonl"))
    for path in (*paths, _qrels_file(folder)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read_documents(path: Path, max_chars: int) -> list[Document]:
    documents: list[Document] = []
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path, max_chars):
        if isinstance(row, Refused):
            raise _wrong(path, number, row.field, row.reason)
        if row.id in lines:
            raise _wrong(path, number, "_id", f"{row.id!r} stands on line {lines[row.id]} too")
        lines[row.id] = number
        documents.append(row)
    if not documents:
        raise InvalidInputError(f"{shown(path)}: no documents")
    return documents


def _read_queries(path: Path, max_chars: int) -> dict[str, str]:
    queries: dict[str, str] = {}
    for number, row in read_json_lines(path, max_chars):
        if isinstance(row, Refused):
            raise _wrong(path, number, row.field, row.reason)
        try:
            query_id = check_id(row.get("_id"), "_id")
        except InvalidInputError as error:
            raise _wrong(path, number, error.field, str(error)) from error
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise _wrong(path, number, "text", "must be a string that is not empty")
        if query_id in queries:
            raise _wrong(path, number, "_id", f"{query_id!r} stands on an earlier line too")
        queries[query_id] = text
    if not queries:
        raise InvalidInputError(f"{shown(path)}: no queries")
    return queries


def _read_qrels(
    path: Path, queries: dict[str, str], documents: set[str]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, (query, document, score) in _judgements(path):
        if query not in queries:
            raise _wrong(path, number, "query-id", f"no query has the id {query!r}")
        if document not in documents:
            raise _wrong(path, number, "corpus-id", f"no document has the id {document!r}")
        try:
            grade = int(score)
        except ValueError as error:
            raise _wrong(path, number, "score", f"{score!r} is not an integer") from error
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise _wrong(path, number, "score", "contradicts an earlier line")
    if not qrels:
        raise InvalidInputError(f"{shown(path)}: no judgements")
    return qrels


def _judgements(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise _wrong(path, number, None, "not valid UTF-8") from error
    for number, line in enumerate(lines, 1):
        columns = line.rstrip("\r").split("\t")
        if number == 1:
            if columns != _QRELS_HEADER:
                raise _wrong(path, 1, None, f"must be {' '.join(_QRELS_HEADER)}, parted by tabs")
        elif line.strip():
            if len(columns) != len(_QRELS_HEADER):
                raise _wrong(path, number, None, "must have three columns, parted by tabs")
            yield number, columns


def _qrels_file(folder: Path) -> Path:
    in_folder = folder / "qrels" / "test.tsv"
    return in_folder if in_folder.exists() else _existing(folder / "qrels.tsv")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInputError(f"{shown(path)}: there is no such file", "path")
    return path


def _wrong(path: Path, line: int, field: str | None, reason: str) -> InvalidInputError:
    where = f"{shown(path)}, line {line}"
    return InvalidInputError(
        f"{where}: {field}: {reason}" if field else f"{where}: {reason}", field
    )
