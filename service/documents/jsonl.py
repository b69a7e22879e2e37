"""Documents from JSON objects: of a file's lines, and as programs send them."""

from functools import partial
from pathlib import Path
from typing import Any

from service.documents.lines import Numbered, parsed, read_json_lines
from service.documents.outline import outline_from, outlined
from service.documents.rows import (
    check_id,
    check_metadata_name,
    check_metadata_value,
    make_document,
    required,
)
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, MetadataValue


def read_jsonl(path: Path, limits: DocumentLimits) -> Numbered[Document]:
    """One document a line. Keys other than those above become metadata.

    If a row has both `_id` and `id`, the first is the id and the second becomes metadata.
    """
    rows = read_json_lines(path, limits.text)
    return parsed(path, rows, partial(_document, limits=limits))


def _document(row: dict[str, Any], limits: DocumentLimits) -> Document:
    id_key = "_id" if "_id" in row else "id"
    id_ = check_id(required(row, id_key), id_key)
    metadata = _metadata(row, id_key)
    return make_document(id_, required(row, "text"), row.get("title"), metadata, limits)


def _metadata(row: dict[str, Any], id_key: str) -> dict[str, MetadataValue]:
    given = row.get("metadata")
    if not isinstance(given, dict | None):
        raise InvalidInputError("must be an object", "metadata")
    metadata = dict(given or {})  # checked with the whole document
    for name, value in row.items():
        if name in (id_key, "title", "text", "metadata"):
            continue
        check_metadata_name(name)
        if name in metadata:
            raise InvalidInputError("is both a key of the row and in `metadata`", name)
        metadata[name] = check_metadata_value(value, name)
    return metadata


FIELDS = ("id", "title", "text", "metadata", "outline")
_SHOWN_CHARS = 128


def fields_of(document: Document) -> dict[str, Any]:
    """The JSON object from which `parse_document` makes the document."""
    fields: dict[str, Any] = {
        "id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": dict(document.metadata),
    }
    if document.outline:
        fields["outline"] = [
            {"start": mark.start, "page": mark.page, "headings": list(mark.headings)}
            for mark in document.outline
        ]
    return fields


def parse_document(value: object, limits: DocumentLimits, id_: str | None = None) -> Document:
    """The document in `value`, any JSON value; only its `FIELDS` are allowed.

    If `id_` is given, `value` may have the same id or none. Raises `InvalidInputError`, whose
    message is a sentence if the field is put in front.
    """
    if not isinstance(value, dict):
        raise InvalidInputError("must be an object", "document")
    for name in value:
        if name not in FIELDS:
            # The message goes back to the client: it must be short and valid Unicode.
            shown = str(name)[:_SHOWN_CHARS].encode(errors="replace").decode()
            raise InvalidInputError(f"is not a field of a document: {', '.join(FIELDS)}", shown)
    metadata = value.get("metadata")
    if not isinstance(metadata, dict | None):
        raise InvalidInputError("must be an object", "metadata")
    checked_id, text = _id(value, id_), required(value, "text")
    outline = outline_from(value.get("outline"))
    document = make_document(checked_id, text, value.get("title"), metadata or {}, limits)
    return outlined(document, outline)


def _id(value: dict[str, object], id_: str | None) -> str:
    if id_ is None:
        return check_id(required(value, "id"))
    if value.get("id") is not None and check_id(value["id"]) != id_:
        raise InvalidInputError("is not the id in the path", "id")
    return check_id(id_)
