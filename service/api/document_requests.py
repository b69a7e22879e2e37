"""What requests to `/documents` say: in their paths, query strings, headers and batches.

`ETag`, `If-Match` and `If-None-Match` name a document's version (RFC 9110, section 13).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Header, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor

from service.api.schemas.common import component
from service.api.schemas.document_schemas import ID_SCHEMA, RefusedBody, ReplacedBody
from service.api.schemas.filter_schemas import MAX_TEXT_CHARS, filters_from_text
from service.api.state import StateDep
from service.documents.jsonl import parse_document
from service.documents.rows import check_id
from service.errors import DuplicateKeyError, InvalidInputError
from service.scheduling.gate import Deadline
from service.settings import MAX_TIMEOUT_MS
from service.types import Document, DocumentLimits, Expectation, Filters

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_SOME_TAGS = rf"{_TAG}(?:\s*,\s*{_TAG})*"
_ANY = "*"
_TAGS: dict[str, Any] = {"pattern": rf"^(?:\*|{_SOME_TAGS})$"}
_CURSOR: dict[str, Any] = {
    "pattern": "^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{3}=|[A-Za-z0-9_-]{2}==)?$"
}
_FILTERS: dict[str, Any] = {
    "maxLength": MAX_TEXT_CHARS,
    "contentMediaType": "application/json",
    "contentSchema": component("Filter"),
}


class _Rest(Convertor[str]):
    """The rest of a path, with slashes; also with line ends, so that these can be refused."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


async def _id_in_path(
    request: Request,
    id_: Annotated[
        str,
        Path(
            alias="id",
            json_schema_extra=ID_SCHEMA,
            description="The document's id, percent-encoded; slashes need no encoding.",
            examples=["py-except"],
        ),
    ],
) -> str:
    try:
        # The server replaces bytes that are not UTF-8, so look at the original ones.
        unquote_to_bytes(request.scope["raw_path"]).decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError("id in the path is not valid UTF-8", "id") from error
    with sentence():
        return check_id(id_)


def _tags_in(name: str, description: str) -> Any:
    return Header(alias=name, json_schema_extra=_TAGS, description=description)


IfMatch = Annotated[
    str | None,
    _tags_in("If-Match", 'Only this version, such as `"7"`, or `*` for any version; else 412.'),
]
IfNew = Annotated[str | None, _tags_in("If-None-Match", "`*`: only a new document; else 412.")]
IfChanged = Annotated[str | None, _tags_in("If-None-Match", '304 if current, such as `"7"`.')]


async def _condition(if_match: IfMatch = None, if_none_match: IfNew = None) -> Expectation | None:
    return expectation(if_match, if_none_match)


async def _patience(
    state: StateDep,
    wait: Annotated[
        bool,
        Query(description="Answer once searches see it, or `timeout_ms` later (`indexed: false`)."),
    ] = False,
    timeout_ms: Annotated[
        int | None,
        Query(
            ge=1, le=MAX_TIMEOUT_MS, description="For `wait`; default: the server's `timeout_ms`."
        ),
    ] = None,
) -> Deadline:
    """Until when to wait for searches to see what was written."""
    return Deadline((timeout_ms or state.settings.timeout_ms) / 1000 if wait else 0.0)


async def _filters(
    filters: Annotated[
        str | None,
        Query(
            json_schema_extra=_FILTERS,
            description="As for `/search`, in JSON.",
            examples=['{"topic": "python"}'],
        ),
    ] = None,
) -> Filters:
    if filters is None:
        return {}
    with sentence():
        return filters_from_text(filters)


async def _after(
    cursor: Annotated[
        str | None,
        Query(max_length=4096, json_schema_extra=_CURSOR, description="From the previous page."),
    ] = None,
) -> str:
    try:
        return base64.b64decode((cursor or "").encode("ascii"), b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error) as error:
        raise InvalidInputError("cursor must be one that a page gave", "cursor") from error


IdDep = Annotated[str, Depends(_id_in_path)]
ConditionDep = Annotated[Expectation | None, Depends(_condition)]
PatienceDep = Annotated[Deadline, Depends(_patience)]
FiltersDep = Annotated[Filters, Depends(_filters)]
AfterDep = Annotated[str, Depends(_after)]


def cursor_after(id_: str) -> str:
    """The cursor for the documents after `id_`."""
    return base64.urlsafe_b64encode(id_.encode()).decode()


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


def expectation(if_match: str | None, if_none_match: str | None = None) -> Expectation | None:
    """What both headers require of the stored version (None: no document); None without headers.

    Raises `InvalidInputError` for a header that is neither `*` nor tags in quotes.
    """
    if if_match is None and if_none_match is None:
        return None
    wanted, unwanted = _tags(if_match, "If-Match"), _weak_tags(if_none_match)

    def may_write(version: int | None) -> bool:
        has_wanted = if_match is None or _names(wanted, version)
        return has_wanted and not _names(unwanted, version)

    return may_write


def is_known(if_none_match: str | None, version: int) -> bool:
    """Whether the client already has this version."""
    return _names(_weak_tags(if_none_match), version)


def _tags(header: str | None, name: str) -> set[str]:
    if header is None:
        return set()
    if header.strip() == _ANY:
        return {_ANY}
    if not re.fullmatch(rf"\s*{_SOME_TAGS}\s*", header):
        raise InvalidInputError(f'{name} must be * or versions in quotes, such as "7"', name)
    return set(re.findall(_TAG, header))


def _weak_tags(header: str | None) -> set[str]:
    """For the weak comparison that `If-None-Match` requires."""
    return {tag.removeprefix("W/") for tag in _tags(header, "If-None-Match")}


def _names(tags: set[str], version: int | None) -> bool:
    return version is not None and (_ANY in tags or etag(version) in tags)


@dataclass(frozen=True, slots=True)
class Batch:
    """The documents of a request; no two of `documents` share an id."""

    documents: list[Document]
    refused: list[RefusedBody]
    replaced: list[ReplacedBody]


def read_batch(values: Sequence[object], limits: DocumentLimits) -> Batch:
    """Check the documents of a request. If two valid ones share an id, the last one wins."""
    taken: dict[str, tuple[int, Document]] = {}
    refused: list[RefusedBody] = []
    earlier: list[tuple[int, str]] = []
    for index, value in enumerate(values):
        try:
            with sentence():
                document = parse_document(value, limits)
        except InvalidInputError as error:
            refused.append(RefusedBody(index=index, id=_valid_id(value), error=str(error)))
            continue
        if document.id in taken:
            earlier.append((taken[document.id][0], document.id))
        taken[document.id] = (index, document)
    replaced = [ReplacedBody(index=index, id=id_, by=taken[id_][0]) for index, id_ in earlier]
    return Batch([document for _, document in taken.values()], refused, replaced)


@contextmanager
def sentence() -> Iterator[None]:
    """Turn an error about a field ("is empty") into a sentence ("text is empty")."""
    try:
        yield
    except DuplicateKeyError:
        raise  # its message names the key
    except InvalidInputError as error:
        raise InvalidInputError(f"{error.field or 'it'} {error}", error.field) from error


def _valid_id(value: object) -> str | None:
    try:
        return check_id(value.get("id")) if isinstance(value, dict) else None
    except InvalidInputError:
        return None
