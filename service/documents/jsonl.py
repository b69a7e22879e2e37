"""Documents from JSON lines: `{"id" or "_id", "title"?, "text", "metadata"?, ...}`."""

from functools import partial
from pathlib import Path
from typing import Any

from service.documents.lines import Numbered, parsed, read_json_lines
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
