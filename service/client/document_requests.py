"""Requests about documents, and what their answers mean: all that both clients share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, Literal, TypeVar

import httpx
from pydantic import TypeAdapter

from service.client.filters import Filters
from service.client.http import read

MOST_DOCUMENTS = 1000
MOST_BYTES = 16_000_000
"""Of one request; more are sent in several."""

WireDocument = Mapping[str, Any]
"""`{"id", "title"?, "text", "metadata"?}`."""

Version = int | Literal["*"]
"""A document's version, or any that is there."""

Params = Mapping[str, str | int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it was last written; `indexed` is whether searches see this version.

    `problem` says why they never will.
    """

    id: str
    title: str
    text: str
    metadata: dict[str, Any]
    version: int
    indexed: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """What a write did: `created` is false where the document was there already."""

    id: str
    version: int
    indexed: bool
    problem: str | None = None
    created: bool = False


@dataclass(frozen=True, slots=True)
class RefusedDocument:
    """A document that was not taken: its place in what was given, from 0, and why."""

    index: int
    id: str | None
    error: str


@dataclass(frozen=True, slots=True)
class ReplacedDocument:
    """A document that was not stored, as the one at `by`, in the same request, has its id."""

    index: int
    id: str
    by: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of many documents. `indexed`: none of them waits to be seen by searches."""

    accepted: int = 0
    refused: list[RefusedDocument] = field(default_factory=list)
    replaced: list[ReplacedDocument] = field(default_factory=list)
    indexed: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents, and what asks for the next ones."""

    documents: list[StoredDocument]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class _Deleted:
    deleted: int


_STORED, _WRITTEN = TypeAdapter(StoredDocument), TypeAdapter(WrittenDocument)
_PUT, _PAGE, _DELETED = TypeAdapter(PutResult), TypeAdapter(Page), TypeAdapter(_Deleted)
_NOTHING: TypeAdapter[None] = TypeAdapter(None)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and what its answer means. One with a condition must not be made twice."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    options: dict[str, Any] = field(default_factory=dict)
    conditional: bool = False


def id_of(document: WireDocument) -> str:
    """For the path. Raises `ValueError` where there is none."""
    if document.get("id") is None:
        raise ValueError("the document has no id")
    return str(document["id"])


def put(
    path: str, document: WireDocument, headers: Mapping[str, str], params: Params
) -> Call[WrittenDocument]:
    """`PUT /documents/{id}`."""

    def understood(response: httpx.Response) -> WrittenDocument:
        written = read(response, _WRITTEN, accepted=(200, 201))
        return replace(written, created=response.status_code == 201)

    options = {"content": _json(dict(document)), "headers": {**_JSON, **headers}, "params": params}
    return Call("PUT", path, understood, options, conditional=bool(headers))


def put_many(path: str, content: bytes, params: Params) -> Call[PutResult]:
    """`POST /documents`."""
    options = {"content": content, "headers": _JSON, "params": params}
    return Call("POST", path, lambda response: read(response, _PUT), options)


def get(path: str) -> Call[StoredDocument]:
    """`GET /documents/{id}`."""
    return Call("GET", path, lambda response: read(response, _STORED))


def page(path: str, filters: Filters | None, size: int, cursor: str | None) -> Call[Page]:
    """`GET /documents`."""
    params: dict[str, str | int] = {"limit": size}
    if filters:
        params["filters"] = json.dumps(filters, ensure_ascii=False, allow_nan=False)
    if cursor is not None:
        params["cursor"] = cursor
    return Call("GET", path, lambda response: read(response, _PAGE), {"params": params})


def delete(path: str, headers: Mapping[str, str]) -> Call[None]:
    """`DELETE /documents/{id}`."""

    def understood(response: httpx.Response) -> None:
        if response.status_code != 204:
            read(response, _NOTHING, accepted=())

    return Call("DELETE", path, understood, {"headers": headers}, conditional=bool(headers))


def deletions(path: str, ids: Iterable[str] | None, filters: Filters | None) -> Iterator[Call[int]]:
    """`POST /documents/delete`, once or as often as needed. Raises `ValueError`."""
    if (ids is None) == (filters is None):
        raise ValueError("give either ids or filters")
    if ids is None:
        yield _deletion(path, {"filters": filters})
        return
    for some in _batched(ids):
        yield _deletion(path, {"ids": some})


def _deletion(path: str, body: Mapping[str, Any]) -> Call[int]:
    options = {"content": _json(body), "headers": _JSON}
    return Call(
        "POST", f"{path}/delete", lambda response: read(response, _DELETED).deleted, options
    )


def requests(documents: Iterable[WireDocument]) -> Iterator[tuple[int, bytes]]:
    """Bodies of `POST /documents`, each with the number of documents in those before it."""
    offset, bytes_ = 0, 0
    some: list[bytes] = []
    for document in documents:
        one = _json(dict(document))
        if some and (len(some) == MOST_DOCUMENTS or bytes_ + len(one) > MOST_BYTES):
            yield offset, _body(some)
            offset, bytes_, some = offset + len(some), 0, []
        some.append(one)
        bytes_ += len(one)
    if some:
        yield offset, _body(some)


def joined(result: PutResult, more: PutResult, offset: int) -> PutResult:
    """The results of two requests; places in the second are counted on from `offset`."""
    return PutResult(
        accepted=result.accepted + more.accepted,
        refused=result.refused + [replace(r, index=r.index + offset) for r in more.refused],
        replaced=result.replaced
        + [replace(r, index=r.index + offset, by=r.by + offset) for r in more.replaced],
        indexed=result.indexed and more.indexed,
    )


def conditions(if_match: Version | None, *, only_new: bool = False) -> dict[str, str]:
    """Headers for a write that depends on what is there."""
    headers = {}
    if if_match is not None:
        headers["If-Match"] = "*" if if_match == "*" else f'"{if_match}"'
    if only_new:
        headers["If-None-Match"] = "*"
    return headers


def waiting(wait: bool, timeout_ms: int | None) -> Params:
    """Parameters for a write that searches are to see."""
    params: dict[str, str | int] = {"wait": "true"} if wait else {}
    if timeout_ms is not None:
        params["timeout_ms"] = timeout_ms
    return params


def _json(value: object) -> bytes:
    # Half a surrogate pair is for the server to refuse, with the place where it stands.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass")


def _body(documents: Iterable[bytes]) -> bytes:
    return b'{"documents":[' + b",".join(documents) + b"]}"


def _batched(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, MOST_DOCUMENTS)):
        yield some
