"""BEIR's layout: a folder with corpus.jsonl, queries.jsonl and qrels.tsv."""

from functools import partial
from pathlib import Path
from typing import Any

from service.datasets.labels import Collection, Files, Judgement, Query, make_query
from service.datasets.problems import existing
from service.documents.files import corpus_file
from service.documents.jsonl import read_jsonl
from service.documents.lines import Numbered, filled_lines, parsed, read_json_lines, shown
from service.durable import new_folder, write_json_lines, write_lines
from service.errors import InvalidInputError
from service.types import Document, Refused

read_documents = read_jsonl
QRELS_HEADER = "query-id\tcorpus-id\tscore"


def find_files(folder: Path) -> Files | None:
    """The judgements are in `qrels.tsv` or, as BEIR has them, in `qrels/test.tsv`."""
    corpus, queries, qrels = corpus_file(folder), folder / "queries.jsonl", folder / "qrels.tsv"
    if not (corpus.exists() or queries.exists() or qrels.exists()):
        return None
    in_folder = folder / "qrels" / "test.tsv"
    judgements = in_folder if in_folder.exists() else qrels
    return Files([existing(corpus)], [existing(queries)], [existing(judgements)])


def read_queries(path: Path, max_chars: int) -> Numbered[Query]:
    """JSON lines `{"_id", "text"}`; other keys are ignored."""
    return parsed(path, read_json_lines(path, max_chars), partial(query_of, max_chars=max_chars))


def query_of(row: dict[str, Any], max_chars: int) -> Query:
    return make_query(row.get("_id"), row.get("text"), max_chars)


def read_judgements(path: Path, _max_chars: int) -> Numbered[Judgement]:
    """Tab-separated lines under BEIR's header."""
    lines = filled_lines(path)
    if next(lines, (1, QRELS_HEADER)) != (1, QRELS_HEADER):
        reason = f"must be {' '.join(QRELS_HEADER.split())}, tab-separated"
        yield 1, Refused(shown(path), 1, None, reason)
    yield from parsed(path, lines, _judgement)


def _judgement(line: str) -> Judgement:
    columns = line.split("\t")
    if len(columns) != 3:
        raise InvalidInputError("must have three tab-separated columns")
    return Judgement(*columns)


def write_beir(folder: Path, collection: Collection) -> None:
    """Write a collection as a folder, whole or not at all.

    Raises `InvalidInputError` if the folder already exists and is not empty, and `StoreError`.
    """
    empty = sorted({id_ for grades in collection.unfindable.values() for id_ in grades})
    documents = [*collection.documents, *(Document(id_, "") for id_ in empty)]
    with new_folder(folder) as unfinished:
        write_json_lines(corpus_file(unfinished), map(document_row, documents))
        write_json_lines(
            unfinished / "queries.jsonl",
            ({"_id": id_, "text": text} for id_, text in collection.queries.items()),
        )
        judged = (
            f"{query}\t{document}\t{grade}"
            for query, grades in collection.judged.items()
            for document, grade in grades.items()
        )
        write_lines(unfinished / "qrels.tsv", (QRELS_HEADER, *judged))


def document_row(document: Document) -> dict[str, Any]:
    """A line of the corpus."""
    row = {"_id": document.id, "title": document.title, "text": document.text}
    metadata = dict(document.metadata)
    return {**row, "metadata": metadata} if metadata else row
