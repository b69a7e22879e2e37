"""Documents from JSON lines: `{"id" or "_id", "title"?, "text", "metadata"?, ...}`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.documents.lines import read_json_lines, shown
from service.documents.rows import (
    Row,
    check_id,
    check_metadata_name,
    check_metadata_value,
    make_document,
)
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, MetadataValue, Refused


def read_jsonl(path: Path, limits: DocumentLimits) -> Iterator[tuple[int, Row]]:
    """Each line's number (1-based) with its row. Keys beside those above are taken as metadata.

    `_id` is the id where both are there; `id` is then metadata too.
    """
    for number, row in read_json_lines(path, limits.text):
        if isinstance(row, Refused):
            yield number, row
            continue
        try:
            yield number, _document(row, limits)
        except InvalidInputError as error:
            yield number, Refused(shown(path), number, error.field, str(error))


def _document(row: dict[str, Any], limits: DocumentLimits) -> Document:
    id_key = "_id" if "_id" in row else "id"
    for key in (id_key, "text"):
        if key not in row:
            raise InvalidInputError("is missing", key)
    id_ = check_id(row[id_key], id_key)
    title = "" if row.get("title") is None else row["title"]
    return make_document(id_, row["text"], title, _metadata(row, id_key), limits)


def _metadata(row: dict[str, Any], id_key: str) -> dict[str, MetadataValue]:
    given = row.get("metadata")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise InvalidInputError("must be an object", "metadata")
    metadata = {}
    for name, value in given.items():
        check_metadata_name(name)
        metadata[name] = check_metadata_value(value, f"metadata.{name}")
    for name, value in row.items():
        if name in (id_key, "title", "text", "metadata"):
            continue
        check_metadata_name(name)
        if name in metadata:
            raise InvalidInputError("is both beside `metadata` and in it", name)
        metadata[name] = check_metadata_value(value, name)
    return metadata
