"""The checks that every document and every labelled row passes, whatever file it comes from."""

import math
import unicodedata
from collections.abc import Mapping
from typing import TypeGuard

from service.errors import InvalidInputError
from service.types import MAX_TEXT_CHARS, Document, DocumentLimits, MetadataValue, Refused

MAX_CHARS = MAX_TEXT_CHARS
"""The longest text, unless the caller sets another limit."""

MAX_ID_CHARS = 512

MAX_METADATA_FIELDS = 64
MAX_NAME_CHARS = 128
MAX_VALUE_CHARS = 10_000
"""The longest string in the metadata, alone or in a list."""

MAX_VALUES = 1000
"""The longest list in the metadata."""

MAX_METADATA_CHARS = 100_000
"""All names and strings together, because every hit of the document shows them."""

_MAX_INTEGER = 2**63 - 1

Row = Document | Refused


def make_document(
    id_: object,
    text: object,
    title: object,
    metadata: Mapping[str, MetadataValue],
    limits: DocumentLimits,
) -> Document:
    """The document. Raises `InvalidInputError` with the field that is wrong.

    If a row has a title and no text, the title becomes the text; the limit of a text then applies.
    """
    checked_id, title = check_id(id_), "" if title is None else title
    checked_text = check_text(text, "text", limits.text)
    if not checked_text.strip() and not limits.empty:
        text, title = check_text(title, "title", limits.text), ""
        checked_text = check_filled(text, "text", limits.text)
    checked_title = check_text(title, "title", limits.title)
    check_metadata(metadata)
    return Document(checked_id, checked_text, checked_title, metadata)


def check_id(value: object, field: str = "id") -> str:
    """A string of 1 to 512 characters without control characters; an integer is made one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows one kind of number: 7.0 is 7
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInputError("must be a string", field)
    if not value.strip():
        raise InvalidInputError("is empty", field)
    if len(value) > MAX_ID_CHARS:
        raise InvalidInputError(
            f"has {len(value)} characters; {MAX_ID_CHARS} are the most that an id may have", field
        )
    _check_unicode(value, field)
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise InvalidInputError("holds a control character", field)
    return value


def required(row: Mapping[str, object], field: str) -> object:
    """The value of a field that must be there."""
    if field not in row:
        raise InvalidInputError("is missing", field)
    return row[field]


def check_metadata(metadata: Mapping[str, object]) -> None:
    """At most 64 fields, each with a value that metadata may have, within all limits."""
    if len(metadata) > MAX_METADATA_FIELDS:
        raise InvalidInputError(
            f"has {len(metadata)} fields; {MAX_METADATA_FIELDS} are the most", "metadata"
        )
    chars = 0
    for name, value in metadata.items():
        check_metadata_name(name)
        strings = check_metadata_value(value, f"metadata.{name}")
        chars += len(name)
        if isinstance(strings, str | list):
            chars += len(strings) if isinstance(strings, str) else sum(map(len, strings))
    if chars > MAX_METADATA_CHARS:
        raise InvalidInputError(
            f"has {chars} characters in all; {MAX_METADATA_CHARS} are the most", "metadata"
        )


def check_metadata_value(value: object, field: str) -> MetadataValue:
    """A string, a finite number within 64 bits, a boolean, null or a list of strings."""
    if isinstance(value, str):
        return check_text(value, field, MAX_VALUE_CHARS)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if _is_list_of_strings(value):
        if len(value) > MAX_VALUES:
            raise InvalidInputError(f"has {len(value)} values; {MAX_VALUES} are the most", field)
        for element in value:
            check_text(element, field, MAX_VALUE_CHARS)
        return value
    raise InvalidInputError(
        "must be a string, a finite number within 64 bits, true, false, null or a list of strings",
        field,
    )


def check_metadata_name(name: str) -> None:
    """A name of 1 to 128 characters that is valid Unicode."""
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidInputError(
            f"has a name of {len(name)} characters; 1 to {MAX_NAME_CHARS} are allowed", "metadata"
        )
    _check_unicode(name, "metadata")


def check_text(value: object, field: str, max_chars: int) -> str:
    """A string of at most `max_chars` characters that is valid Unicode."""
    if not isinstance(value, str):
        raise InvalidInputError("must be a string", field)
    if len(value) > max_chars:
        raise InvalidInputError(
            f"has {len(value)} characters; {max_chars} are the most that are taken", field
        )
    _check_unicode(value, field)
    return value


def check_filled(value: object, field: str, max_chars: int) -> str:
    """A text that is not blank."""
    text = check_text(value, field, max_chars)
    if not text.strip():
        raise InvalidInputError("is empty", field)
    return text


def check_texts(value: object, field: str, max_chars: int) -> tuple[str, ...]:
    """A list of texts that are not blank."""
    if not isinstance(value, list):
        raise InvalidInputError("must be a list of strings", field)
    return tuple(check_filled(text, f"{field}[{i}]", max_chars) for i, text in enumerate(value))


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def composed(text: str) -> str:
    """`text` in the form in which names and values are compared: Unicode's NFC."""
    return unicodedata.normalize("NFC", text)


def _check_unicode(value: str, field: str) -> None:
    if not is_unicode(value):  # a byte of a CSV file, or half of a surrogate pair escaped in JSON
        raise InvalidInputError("is not valid Unicode (UTF-8)", field)


def _is_list_of_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)
