"""TREC's layout: a folder with documents, topics and judgements under their usual names.

Documents are `<DOC>` elements with `<DOCNO>`, optionally `<TITLE>` or `<HEADLINE>`, and `<TEXT>`
(without it, the rest is the text), or lines `id TAB text` or `id TAB title TAB text`. Queries are
`<top>` elements with `<num>` and `<title>`, or lines `id TAB text`. Judgements are lines
`query iteration document grade`, separated by white space.
"""

import html
import re
from functools import partial
from pathlib import Path

from service.datasets.labels import Files, Judgement, Query, make_query
from service.documents.files import corpus_file
from service.documents.lines import Numbered, filled_lines, parsed, shown, text_lines
from service.documents.rows import make_document
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, Refused

_NAMES = (
    ("corpus.trec", "docs.trec", "collection.trec", "corpus.tsv", "docs.tsv", "collection.tsv"),
    ("topics.trec", "topics.txt", "queries.trec", "queries.tsv", "topics.tsv"),
    ("qrels.txt", "qrels.trec", "qrels", "qrels.tsv"),
)

_ELEMENT = re.compile(r"<(docno|title|headline|text)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TOPIC_FIELD = re.compile(r"<(num|title)>([^<]*)", re.IGNORECASE)
_TOPIC_LABEL = re.compile(r"^\s*(?:number|topic)\s*:", re.IGNORECASE)


def find_files(folder: Path) -> Files | None:
    """The first usual name of each kind; a folder with BEIR's corpus.jsonl is not TREC's."""
    found = [[folder / name for name in names if (folder / name).is_file()] for names in _NAMES]
    is_trec = all(found) and not corpus_file(folder).exists()
    return Files(*(paths[:1] for paths in found)) if is_trec else None


def read_documents(path: Path, limits: DocumentLimits) -> Numbered[Document]:
    """Documents; an element's line is the one on which it begins."""
    if _is_tsv(path):
        return parsed(path, filled_lines(path), partial(_tsv_document, limits=limits))
    return parsed(path, _elements(path, "doc"), partial(_document, limits=limits))


def read_queries(path: Path, max_chars: int) -> Numbered[Query]:
    """Queries; an element's line is the one on which it begins."""
    if _is_tsv(path):
        return parsed(path, filled_lines(path), partial(_tsv_query, max_chars=max_chars))
    return parsed(path, _elements(path, "top"), partial(_topic, max_chars=max_chars))


def read_judgements(path: Path, _max_chars: int) -> Numbered[Judgement]:
    return parsed(path, filled_lines(path), _judgement)


def _is_tsv(path: Path) -> bool:
    return path.suffix.lower() == ".tsv"


def _document(element: str, limits: DocumentLimits) -> Document:
    fields: dict[str, list[str]] = {"docno": [], "title": [], "headline": [], "text": []}
    for name, content in _ELEMENT.findall(element):
        fields[name.lower()].append(content)
    if not fields["docno"]:
        raise InvalidInputError("is missing", "DOCNO")
    title = _plain(" ".join(fields["title"] or fields["headline"]))
    text = "\n".join(fields["text"]) if fields["text"] else _ELEMENT.sub(" ", element)
    return make_document(fields["docno"][0].strip(), _plain(text), title, {}, limits)


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub(" ", text)).strip()


def _topic(element: str, max_chars: int) -> Query:
    # Older topics leave out closing tags, so a field ends where the next tag begins.
    fields = {name.lower(): content for name, content in _TOPIC_FIELD.findall(element)}
    id_, text = (_TOPIC_LABEL.sub("", fields.get(name, "")).strip() for name in ("num", "title"))
    return make_query(id_, html.unescape(text).strip(), max_chars)


def _tsv_document(line: str, limits: DocumentLimits) -> Document:
    id_, *title, text = _columns(line, 2, 3)
    return make_document(id_.strip(), text, "".join(title), {}, limits)


def _tsv_query(line: str, max_chars: int) -> Query:
    id_, text = _columns(line, 2)
    return make_query(id_.strip(), text, max_chars)


def _columns(line: str, *allowed: int) -> list[str]:
    columns = line.split("\t")
    if len(columns) not in allowed:
        counts = " or ".join(map(str, allowed))
        raise InvalidInputError(f"must have {counts} tab-separated columns; it has {len(columns)}")
    return columns


def _judgement(line: str) -> Judgement:
    columns = line.split()
    if len(columns) != 4:
        raise InvalidInputError(
            "must be `query iteration document grade`, separated by white space"
        )
    return Judgement(columns[0], columns[2], columns[3])


def _elements(path: Path, tag: str) -> Numbered[str]:
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
