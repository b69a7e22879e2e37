"""`ETag`, `If-Match` and `If-None-Match` for the versions of a document (RFC 9110, section 13)."""

import re
from collections.abc import Set as AbstractSet

from service.errors import InvalidInputError
from service.index.document_store import Expectation

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = rf"{_TAG}(?:\s*,\s*{_TAG})*"
PATTERN = rf"^(?:\*|{_TAGS})$"
_ANY = "*"


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
    if not re.fullmatch(rf"\s*{_TAGS}\s*", header):
        raise InvalidInputError(f'{name} must be * or versions in quotes, such as "7"', name)
    return set(re.findall(_TAG, header))


def _weakened(tags: AbstractSet[str]) -> AbstractSet[str]:
    """For the weak comparison, which `If-None-Match` asks for."""
    return {tag.removeprefix("W/") for tag in tags}


def _names(tags: AbstractSet[str], version: int | None) -> bool:
    return version is not None and (_ANY in tags or etag(version) in tags)
