"""Labelled collections in BEIR's folders: corpus.jsonl, queries.jsonl and qrels.tsv."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.datasets.labels import Collection, Judgement, Parts, Query, gather, make_query
from service.datasets.problems import OnProblem, existing, stop
from service.documents.files import corpus_file
from service.documents.jsonl import read_jsonl
from service.documents.lines import read_json_lines, shown
from service.documents.rows import MAX_CHARS
from service.durable import new_folder, write_json_lines, write_lines
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused

QRELS_HEADER = ["query-id", "corpus-id", "score"]


def beir_files(folder: Path) -> tuple[Path, Path, Path]:
    """Documents, queries and judgements; raises `InvalidInputError` for one that is missing."""
    in_folder = folder / "qrels" / "test.tsv"
    qrels = in_folder if in_folder.exists() else folder / "qrels.tsv"
    return existing(corpus_file(folder)), existing(folder / "queries.jsonl"), existing(qrels)


def read_beir(
    folder: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop
) -> Collection:
    """The whole collection, named after its folder.

    Judgements are in `qrels.tsv` or, as BEIR has them, `qrels/test.tsv`. Raises
    `InvalidInputError` for a file that is missing and, unless `on_problem` is told of them, for the
    first thing that is wrong, with file, line and field: a bad row, an id that occurs twice,
    a judgement of an unknown query or document, a score that is no integer or contradicts an
    earlier one.
    """
    corpus, queries, qrels = beir_files(folder)
    parts = Parts(
        documents_of(corpus, DocumentLimits(max_chars, max_chars, empty=True)),
        queries_of(queries, max_chars),
        judgements_of(qrels),
        (corpus, queries, qrels),
    )
    return gather(folder.resolve().name, parts, on_problem)


def write_beir(folder: Path, collection: Collection) -> None:
    """Write a collection as a folder that is there whole or not at all.

    Raises `InvalidInputError` where something is there already, and `StoreError`.
    """
    empty = sorted({id_ for grades in collection.unfindable.values() for id_ in grades})
    documents = [*collection.documents, *(Document(id_, "") for id_ in empty)]
    with new_folder(folder) as unfinished:
        write_json_lines(corpus_file(unfinished), map(_document_row, documents))
        write_json_lines(
            unfinished / "queries.jsonl",
            ({"_id": id_, "text": text} for id_, text in collection.queries.items()),
        )
        judged = (
            f"{query}\t{document}\t{grade}"
            for query, grades in collection.judged.items()
            for document, grade in grades.items()
        )
        write_lines(unfinished / "qrels.tsv", ("\t".join(QRELS_HEADER), *judged))


def documents_of(
    path: Path, limits: DocumentLimits
) -> Iterator[tuple[Path, int, Document | Refused]]:
    """Documents of a file of JSON lines."""
    return ((path, number, row) for number, row in read_jsonl(path, limits))


def queries_of(path: Path, max_chars: int) -> Iterator[tuple[Path, int, Query | Refused]]:
    """Queries of a file of JSON lines `{"_id", "text"}`; other keys are passed over."""
    for number, row in read_json_lines(path, max_chars):
        if isinstance(row, Refused):
            yield path, number, row
            continue
        try:
            yield path, number, make_query(row.get("_id"), row.get("text"), max_chars)
        except InvalidInputError as error:
            yield path, number, Refused(shown(path), number, error.field, str(error))


def judgements_of(path: Path) -> Iterator[tuple[Path, int, Judgement | Refused]]:
    """Judgements of a tab-separated file with BEIR's header."""
    for number, line in text_lines(path):
        if isinstance(line, Refused):
            yield path, number, line
            continue
        columns = line.split("\t")
        if number == 1:
            if columns != QRELS_HEADER:
                reason = f"must be {' '.join(QRELS_HEADER)}, tab-separated"
                yield path, 1, Refused(shown(path), 1, None, reason)
        elif len(columns) == len(QRELS_HEADER):
            yield path, number, Judgement(*columns)
        elif line.strip():
            reason = "must have three tab-separated columns"
            yield path, number, Refused(shown(path), number, None, reason)


def text_lines(path: Path) -> Iterator[tuple[int, str | Refused]]:
    """Lines without their ends, numbered from 1; `Refused` for one that is not valid UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                yield number, Refused(shown(path), number, None, "not valid UTF-8")
            else:
                yield number, text.removesuffix("\n").removesuffix("\r")


def _document_row(document: Document) -> dict[str, Any]:
    row = {"_id": document.id, "title": document.title, "text": document.text}
    metadata = dict(document.metadata)
    return {**row, "metadata": metadata} if metadata else row
