"""Documents: put, read, listed and deleted."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from secondpass_client.calls import Again, Calls, given, json_bytes, parsed, turned_away
from secondpass_client.details import MetadataField
from secondpass_client.filters import Filters
from secondpass_client.records import PutResult, StoredDocument, WireDocument, WrittenDocument

MOST_DOCUMENTS = 1000
MOST_BYTES = 16_000_000
"""Limits of one request; more documents go in several."""

Version = int | Literal["*"]
"""A document's version, or any version."""

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Page:
    documents: list[StoredDocument]
    cursor: str | None


class DocumentCalls(Calls):
    """The calls on documents."""

    async def put_document(
        self,
        document: WireDocument,
        *,
        if_match: Version | None = None,
        only_new: bool = False,
        wait: bool = False,
        timeout_ms: int | None = None,
        collection: str | None = None,
    ) -> WrittenDocument:
        """Store a document in place of the one with its id; it is then on the server's disk.

        With `wait` the call returns once searches see it, or after `timeout_ms` (the server's, if
        left out). Raises `PreconditionFailedError` if `if_match` names another version than the
        stored one, or if `only_new` and there is one.

        Example:
            written = client.put_document({"id": "tides", "text": "Tides follow the moon."})
            document = {"id": "tides", "text": "Tides follow moon and sun."}
            client.put_document(document, if_match=written.version)
        """
        if document.get("id") is None:
            raise ValueError("the document has no id")
        conditions = _conditions(if_match, only_new=only_new)
        response = await self._send(
            "PUT",
            self._path(collection, "documents", str(document["id"])),
            content=_json(document),
            headers=_JSON | conditions,
            params=_waiting(wait, timeout_ms),
            accepted=(200, 201),
            again=_again(conditions),
        )
        return replace(parsed(WrittenDocument, response), created=response.status_code == 201)

    async def patch_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        metadata: Mapping[str, Any],
        *,
        if_match: Version | None = None,
        collection: str | None = None,
    ) -> WrittenDocument:
        """Set metadata fields of a document; None removes one, the others stay.

        Nothing is encoded again; searches see it at once. Raises `NotFoundError`, and
        `PreconditionFailedError` if `if_match` names another version.

        Example:
            client.patch_document("tides", {"level": 3, "draft": None})
        """
        conditions = _conditions(if_match)
        return await self._ask(
            WrittenDocument,
            "PATCH",
            self._path(collection, "documents", id),
            content=_json({"metadata": metadata}),
            headers=_JSON | conditions,
            again=_again(conditions),
        )

    async def put_documents(
        self,
        documents: Iterable[WireDocument],
        *,
        wait: bool = False,
        timeout_ms: int | None = None,
        collection: str | None = None,
    ) -> PutResult:
        """Store documents, in requests of up to 1,000. Bad ones are reported, not raised.

        Each request is stored as a whole. If one fails, those before it are stored; it does no harm
        to send all again. `wait` and `timeout_ms` hold for each request.
        """
        result, params = PutResult(), _waiting(wait, timeout_ms)
        path = self._path(collection, "documents")
        for offset, content in bodies(documents):
            more = await self._ask(
                PutResult, "POST", path, content=content, headers=_JSON, params=params
            )
            result = _joined(result, more, offset)
        return result

    async def get_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        *,
        collection: str | None = None,
    ) -> StoredDocument:
        """The document as it was last written. Raises `NotFoundError`."""
        return await self._ask(StoredDocument, "GET", self._path(collection, "documents", id))

    async def documents(
        self,
        filters: Filters | None = None,
        *,
        page_size: int = 100,
        collection: str | None = None,
    ) -> AsyncIterator[StoredDocument]:
        """All documents, or those that satisfy `filters`, in the order of their ids.

        Pages are fetched as they are needed: constant memory. A document that is written meanwhile
        may or may not be among them.
        """
        path = self._path(collection, "documents")
        params: dict[str, str | int] = {"limit": page_size}
        if filters:
            params["filters"] = json.dumps(filters, ensure_ascii=False, allow_nan=False)
        while True:
            page = await self._ask(_Page, "GET", path, params=params)
            for document in page.documents:
                yield document
            if page.cursor is None:
                return
            params["cursor"] = page.cursor

    async def count_documents(
        self, filters: Filters | None = None, *, collection: str | None = None
    ) -> int:
        """How many documents searches see, all or those that satisfy `filters`."""
        path, content = (
            self._path(collection, "documents", "count"),
            _json({"filters": filters or {}}),
        )
        return await self._ask(int, "POST", path, part="documents", content=content, headers=_JSON)

    async def fields(
        self,
        filters: Filters | None = None,
        *,
        limit: int = 100,
        collection: str | None = None,
    ) -> list[MetadataField]:
        """The first `limit` metadata fields by name, and how many documents have which types."""
        params: dict[str, str | int] = {"limit": limit}
        if filters:
            params["filters"] = json.dumps(filters, ensure_ascii=False, allow_nan=False)
        path = self._path(collection, "fields")
        return await self._ask(list[MetadataField], "GET", path, part="fields", params=params)

    async def delete_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        *,
        if_match: Version | None = None,
        collection: str | None = None,
    ) -> None:
        """Delete a document; one that is gone already is no error.

        Raises `PreconditionFailedError` if `if_match` names another version.
        """
        path, conditions = self._path(collection, "documents", id), _conditions(if_match)
        again = _again(conditions)
        await self._send("DELETE", path, headers=conditions, accepted=(204,), again=again)

    async def delete_documents(
        self,
        ids: Iterable[str] | None = None,
        *,
        filters: Filters | None = None,
        collection: str | None = None,
    ) -> int:
        """Delete by `ids`, in requests of up to 1,000, or by `filters`; returns how many went."""
        if (ids is None) == (filters is None):
            raise ValueError("give either ids or filters")
        path, deleted = self._path(collection, "documents", "delete"), 0
        for body in [{"filters": filters}] if ids is None else _batches(ids):
            options = {"content": _json(body), "headers": _JSON}
            deleted += await self._ask(int, "POST", path, part="deleted", **options)
        return deleted


def bodies(documents: Iterable[WireDocument]) -> Iterator[tuple[int, bytes]]:
    """Bodies of `POST /documents`, each with the number of documents in those before it."""
    offset, bytes_ = 0, 0
    some: list[bytes] = []
    for document in documents:
        one = _json(document)
        if some and (len(some) == MOST_DOCUMENTS or bytes_ + len(one) > MOST_BYTES):
            yield offset, _body(some)
            offset, bytes_, some = offset + len(some), 0, []
        some.append(one)
        bytes_ += len(one)
    if some:
        yield offset, _body(some)


def _joined(result: PutResult, more: PutResult, offset: int) -> PutResult:
    """The results of two requests; places in the second are counted on from `offset`."""
    return PutResult(
        accepted=result.accepted + more.accepted,
        refused=result.refused + [replace(r, index=r.index + offset) for r in more.refused],
        replaced=result.replaced
        + [replace(r, index=r.index + offset, by=r.by + offset) for r in more.replaced],
        indexed=result.indexed and more.indexed,
    )


def _conditions(if_match: Version | None, *, only_new: bool = False) -> dict[str, str]:
    """Headers for a write that depends on what is stored."""
    headers = {}
    if if_match is not None:
        headers["If-Match"] = "*" if if_match == "*" else f'"{if_match}"'
    if only_new:
        headers["If-None-Match"] = "*"
    return headers


def _again(conditions: dict[str, str]) -> Again | None:
    """A condition that held may no longer hold after the write: its answer must not be lost."""
    return turned_away if conditions else None


def _waiting(wait: bool, timeout_ms: int | None) -> dict[str, Any]:
    return given(wait="true" if wait else None, timeout_ms=timeout_ms)


def _json(value: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair is sent: the server's refusal names its place.
    return json_bytes(value, errors="surrogatepass")


def _body(documents: Iterable[bytes]) -> bytes:
    return b'{"documents":[' + b",".join(documents) + b"]}"


def _batches(ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    rest = iter(ids)
    while some := list(islice(rest, MOST_DOCUMENTS)):
        yield {"ids": some}
