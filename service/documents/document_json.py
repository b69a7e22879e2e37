"""A document as programs send it: `{"id", "title"?, "text", "metadata"?}`."""

from service.documents.rows import check_id, make_document, required
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits

FIELDS = ("id", "title", "text", "metadata")
_SHOWN_CHARS = 128


def parse_document(value: object, limits: DocumentLimits, id_: str | None = None) -> Document:
    """The document in `value`, any JSON value; only the four fields are allowed.

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
    return make_document(checked_id, text, value.get("title"), metadata or {}, limits)


def _id(value: dict[str, object], id_: str | None) -> str:
    if id_ is None:
        return check_id(required(value, "id"))
    if value.get("id") is not None and check_id(value["id"]) != id_:
        raise InvalidInputError("is not the id in the path", "id")
    return check_id(id_)
