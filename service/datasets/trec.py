"""Labelled collections in TREC's files: documents, topics and qrels in a folder."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from service.datasets.beir import text_lines
from service.datasets.labels import Collection, Judgement, Parts, Query, gather, make_query
from service.datasets.problems import OnProblem, stop
from service.documents.lines import shown
from service.documents.rows import MAX_CHARS, make_document
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused

_CORPUS = (
    "corpus.trec",
    "docs.trec",
    "collection.trec",
    "corpus.tsv",
    "docs.tsv",
    "collection.tsv",
)
_QUERIES = ("topics.trec", "topics.txt", "queries.trec", "queries.tsv", "topics.tsv")
_QRELS = ("qrels.txt", "qrels.trec", "qrels", "qrels.tsv")

_ELEMENT = re.compile(r"<(docno|title|headline|text)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TOPIC_FIELD = re.compile(r"<(num|title)>([^<]*)", re.IGNORECASE)
_TOPIC_LABEL = re.compile(r"^\s*(?:number|topic)\s*:", re.IGNORECASE)


def find_trec(folder: Path) -> tuple[Path, Path, Path] | None:
    """Documents, queries and judgements by their usual names; None where one is missing."""
    found = [
        next((folder / name for name in names if (folder / name).is_file()), None)
        for names in (_CORPUS, _QUERIES, _QRELS)
    ]
    corpus, queries, qrels = found
    return (corpus, queries, qrels) if corpus and queries and qrels else None


def read_trec(
    files: tuple[Path, Path, Path],
    name: str,
    *,
    max_chars: int = MAX_CHARS,
    on_problem: OnProblem = stop,
) -> Collection:
    """A collection from its three files.

    Documents: `<DOC>` elements with `<DOCNO>`, perhaps `<TITLE>` or `<HEADLINE>`, and `<TEXT>`
    (without it, all the rest), or lines `id TAB text` or `id TAB title TAB text`. Queries: `<top>`
    elements with `<num>` and `<title>`, or lines `id TAB text`. Judgements: `query iteration
    document grade`, separated by white space. Raises as `read_beir` does.
    """
    corpus, queries, qrels = files
    parts = Parts(
        trec_documents(corpus, DocumentLimits(max_chars, max_chars, empty=True)),
        _tsv_queries(queries, max_chars) if _is_tsv(queries) else _topics(queries, max_chars),
        _judgements(qrels),
        files,
    )
    return gather(name, parts, on_problem)


def trec_documents(
    path: Path, limits: DocumentLimits
) -> Iterator[tuple[Path, int, Document | Refused]]:
    """Documents with their file and the line on which each begins."""
    return _tsv_documents(path, limits) if _is_tsv(path) else _docs(path, limits)


def _is_tsv(path: Path) -> bool:
    return path.suffix.lower() == ".tsv"


def _docs(path: Path, limits: DocumentLimits) -> Iterator[tuple[Path, int, Document | Refused]]:
    for number, block in _elements(path, "doc"):
        if isinstance(block, Refused):
            yield path, number, block
            continue
        try:
            yield path, number, _doc(block, limits)
        except InvalidInputError as error:
            yield path, number, Refused(shown(path), number, error.field, str(error))


def _doc(block: str, limits: DocumentLimits) -> Document:
    elements: dict[str, list[str]] = {"docno": [], "title": [], "headline": [], "text": []}
    for name, content in _ELEMENT.findall(block):
        elements[name.lower()].append(content)
    if not elements["docno"]:
        raise InvalidInputError("is missing", "DOCNO")
    title = _plain(" ".join(elements["title"] or elements["headline"]))
    text = "\n".join(elements["text"]) if elements["text"] else _ELEMENT.sub(" ", block)
    return make_document(elements["docno"][0].strip(), _plain(text), title, {}, limits)


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub(" ", text)).strip()


def _topics(path: Path, max_chars: int) -> Iterator[tuple[Path, int, Query | Refused]]:
    for number, block in _elements(path, "top"):
        if isinstance(block, Refused):
            yield path, number, block
            continue
        # Closing tags are left out in older topics, so a field ends where the next tag begins.
        fields = {name.lower(): content for name, content in _TOPIC_FIELD.findall(block)}
        id_ = _TOPIC_LABEL.sub("", fields.get("num", "")).strip()
        text = html.unescape(_TOPIC_LABEL.sub("", fields.get("title", ""))).strip()
        yield path, number, _query_or_why(path, number, id_, text, max_chars)


def _tsv_documents(
    path: Path, limits: DocumentLimits
) -> Iterator[tuple[Path, int, Document | Refused]]:
    for number, columns in _columns(path, (2, 3)):
        if isinstance(columns, Refused):
            yield path, number, columns
            continue
        title = columns[1] if len(columns) == 3 else ""
        try:
            yield path, number, make_document(columns[0].strip(), columns[-1], title, {}, limits)
        except InvalidInputError as error:
            yield path, number, Refused(shown(path), number, error.field, str(error))


def _tsv_queries(path: Path, max_chars: int) -> Iterator[tuple[Path, int, Query | Refused]]:
    for number, columns in _columns(path, (2,)):
        if isinstance(columns, Refused):
            yield path, number, columns
        else:
            yield (
                path,
                number,
                _query_or_why(path, number, columns[0].strip(), columns[1], max_chars),
            )


def _query_or_why(path: Path, number: int, id_: str, text: str, max_chars: int) -> Query | Refused:
    try:
        return make_query(id_, text, max_chars)
    except InvalidInputError as error:
        return Refused(shown(path), number, error.field, str(error))


def _columns(path: Path, allowed: tuple[int, ...]) -> Iterator[tuple[int, list[str] | Refused]]:
    for number, line in text_lines(path):
        if isinstance(line, Refused):
            yield number, line
        elif line.strip():
            columns = line.split("\t")
            if len(columns) in allowed:
                yield number, columns
            else:
                counts = " or ".join(map(str, allowed))
                reason = f"must have {counts} tab-separated columns; it has {len(columns)}"
                yield number, Refused(shown(path), number, None, reason)


def _judgements(path: Path) -> Iterator[tuple[Path, int, Judgement | Refused]]:
    for number, line in text_lines(path):
        if isinstance(line, Refused):
            yield path, number, line
        elif line.strip():
            columns = line.split()
            if len(columns) == 4:
                yield path, number, Judgement(columns[0], columns[2], columns[3])
            else:
                reason = "must be `query iteration document grade`, separated by white space"
                yield path, number, Refused(shown(path), number, None, reason)


def _elements(path: Path, tag: str) -> Iterator[tuple[int, str | Refused]]:
    """The text between `<tag>` and `</tag>`, each alone on its line, and its first line."""
    begin, block = 0, list[str]()
    for number, line in text_lines(path):
        if isinstance(line, Refused):
            yield number, line
            continue
        mark = line.strip().lower()
        if mark == f"<{tag}>":
            if begin:
                yield begin, Refused(shown(path), begin, tag.upper(), f"has no </{tag}>")
            begin, block = number, []
        elif mark == f"</{tag}>" and begin:
            yield begin, "\n".join(block)
            begin = 0
        elif begin:
            block.append(line)
        elif mark:
            reason = f"is outside <{tag}> and </{tag}>, which must each have a line"
            yield number, Refused(shown(path), number, tag.upper(), reason)
    if begin:
        yield begin, Refused(shown(path), begin, tag.upper(), f"has no </{tag}>")
