"""What paths, queries and headers of `/documents` say, read and checked.

`ETag`, `If-Match` and `If-None-Match` are about a document's version (RFC 9110, section 13).
"""

import base64
import binascii
import re
from collections.abc import Set as AbstractSet
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Header, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor

from service.api.dependencies import StateDep
from service.api.document_batch import sentence
from service.api.schemas.common import component
from service.api.schemas.document_schemas import ID_SCHEMA
from service.api.schemas.filter_schemas import MAX_TEXT_CHARS, filters_from_text
from service.documents.rows import check_id
from service.errors import InvalidInputError
from service.scheduling.gate import Deadline
from service.types import Expectation, Filters

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_SOME_TAGS = rf"{_TAG}(?:\s*,\s*{_TAG})*"
_ANY = "*"
TAGS: dict[str, Any] = {"pattern": rf"^(?:\*|{_SOME_TAGS})$"}
"""What the headers' JSON schema is."""


class _Rest(Convertor[str]):
    """The rest of a path: slashes as for `path`, and line ends, for these to be refused."""

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
            description="The document's id, percent-encoded; slashes may stand as they are.",
            examples=["py-except"],
        ),
    ],
) -> str:
    try:
        # The server itself puts a replacement character for what is no UTF-8.
        unquote_to_bytes(request.scope["raw_path"]).decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError("id in the path is not valid UTF-8", "id") from error
    with sentence():
        return check_id(id_)


_CURSOR: dict[str, Any] = {
    "pattern": "^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{3}=|[A-Za-z0-9_-]{2}==)?$"
}
_FILTERS: dict[str, Any] = {
    "maxLength": MAX_TEXT_CHARS,
    "contentMediaType": "application/json",
    "contentSchema": component("Filter"),
}

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        json_schema_extra=TAGS,
        description='Only this version, such as `"7"`, or `*` for any that is there; else 412.',
    ),
]


async def _condition(
    if_match: IfMatch = None,
    if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            json_schema_extra=TAGS,
            description="`*`: only where there is no such document yet; else 412.",
        ),
    ] = None,
) -> Expectation | None:
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
            ge=1,
            le=600_000,
            description="Longest time for `wait`, in milliseconds; the server's `timeout_ms` if "
            "left out.",
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
        Query(
            max_length=4096,
            json_schema_extra=_CURSOR,
            description="From the page before; none for the first.",
        ),
    ] = None,
) -> str:
    try:
        return base64.b64decode((cursor or "").encode("ascii"), b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error) as error:
        raise InvalidInputError("cursor must be one that a page gave", "cursor") from error


def cursor_after(id_: str) -> str:
    """The cursor for what comes after `id_`."""
    return base64.urlsafe_b64encode(id_.encode()).decode()


IdDep = Annotated[str, Depends(_id_in_path)]
ConditionDep = Annotated[Expectation | None, Depends(_condition)]
PatienceDep = Annotated[Deadline, Depends(_patience)]

FiltersDep = Annotated[Filters, Depends(_filters)]
AfterDep = Annotated[str, Depends(_after)]


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


def expectation(if_match: str | None, if_none_match: str | None) -> Expectation | None:
    """What both headers ask of the version that is there (None: there is none); None without any.

    Raises `InvalidInputError` for a header that is neither `*` nor tags in quotes.
    """
    wanted = None if if_match is None else _tags(if_match, "If-Match")
    unwanted = None if if_none_match is None else _tags(if_none_match, "If-None-Match")
    if wanted is None and unwanted is None:
        return None

    def may_write(version: int | None) -> bool:
        if wanted is not None and not _names(wanted, version):
            return False
        return unwanted is None or not _names(_weakened(unwanted), version)

    return may_write


def is_known(if_none_match: str | None, version: int) -> bool:
    """Whether a reader has this version already."""
    if if_none_match is None:
        return False
    return _names(_weakened(_tags(if_none_match, "If-None-Match")), version)


def _tags(header: str, name: str) -> AbstractSet[str]:
    if header.strip() == _ANY:
        return {_ANY}
    if not re.fullmatch(rf"\s*{_SOME_TAGS}\s*", header):
        raise InvalidInputError(f'{name} must be * or versions in quotes, such as "7"', name)
    return set(re.findall(_TAG, header))


def _weakened(tags: AbstractSet[str]) -> AbstractSet[str]:
    """For the weak comparison, which `If-None-Match` asks for."""
    return {tag.removeprefix("W/") for tag in tags}


def _names(tags: AbstractSet[str], version: int | None) -> bool:
    return version is not None and (_ANY in tags or etag(version) in tags)
