"""Documents that are stored, read and deleted, for both clients."""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from service.client import document_requests as requests
from service.client.document_requests import (
    Call,
    PutResult,
    StoredDocument,
    Version,
    WireDocument,
    WrittenDocument,
    conditions,
    waiting,
)
from service.client.filters import Filters
from service.client.http import in_collection, network_errors, unless_lost

T = TypeVar("T")


class DocumentCalls:
    """What `SearchClient` can do with documents."""

    _http: httpx.Client
    _retrying: Retrying
    _collection: str | None

    def put_document(
        self,
        document: WireDocument,
        *,
        if_match: Version | None = None,
        only_new: bool = False,
        wait: bool = False,
        timeout_ms: int | None = None,
        collection: str | None = None,
    ) -> WrittenDocument:
        """Store a document in place of the one with its id; it is on the server's disk then.

        `wait`: return once searches see it, or when `timeout_ms` (the server's, if left out) are
        over. Raises `PreconditionFailedError` where `if_match` names another version than the one
        that is there, or where `only_new` and there is one.

        Example:
            written = client.put_document({"id": "tides", "text": "Tides follow the moon."})
            document = {"id": "tides", "text": "Tides follow moon and sun."}
            client.put_document(document, if_match=written.version)
        """
        headers = conditions(if_match, only_new=only_new)
        path = self._path(collection, requests.id_of(document))
        return self._send(requests.put(path, document, headers, waiting(wait, timeout_ms)))

    def put_documents(
        self,
        documents: Iterable[WireDocument],
        *,
        wait: bool = False,
        timeout_ms: int | None = None,
        collection: str | None = None,
    ) -> PutResult:
        """Store documents, in requests of up to 1,000 each; bad ones are told, not raised.

        Each request is stored as a whole. Where one fails, those before it are stored; to send all
        again does no harm. `wait` and `timeout_ms` are for each request.
        """
        result = PutResult()
        path, params = self._path(collection), waiting(wait, timeout_ms)
        for offset, content in requests.requests(documents):
            result = requests.joined(
                result, self._send(requests.put_many(path, content, params)), offset
            )
        return result

    def get_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        *,
        collection: str | None = None,
    ) -> StoredDocument:
        """The document as it was last written. Raises `NotFoundError`."""
        return self._send(requests.get(self._path(collection, id)))

    def documents(
        self,
        filters: Filters | None = None,
        *,
        page_size: int = 100,
        collection: str | None = None,
    ) -> Iterator[StoredDocument]:
        """All documents, or those that satisfy `filters`, in the order of their ids.

        Asked for in pages as they are needed: constant memory. What is written meanwhile may or
        may not be among them.
        """
        cursor, path = None, self._path(collection)
        while True:
            page = self._send(requests.page(path, filters, page_size, cursor))
            yield from page.documents
            if (cursor := page.cursor) is None:
                return

    def delete_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        *,
        if_match: Version | None = None,
        collection: str | None = None,
    ) -> None:
        """Delete a document, also where it is gone already.

        Raises `PreconditionFailedError` where `if_match` names another version.
        """
        self._send(requests.delete(self._path(collection, id), conditions(if_match)))

    def delete_documents(
        self,
        ids: Iterable[str] | None = None,
        *,
        filters: Filters | None = None,
        collection: str | None = None,
    ) -> int:
        """Delete by `ids`, in requests of up to 1,000, or by `filters`; returns how many went."""
        path = self._path(collection)
        return sum(self._send(call) for call in requests.deletions(path, ids, filters))

    def _path(self, collection: str | None, *rest: str) -> str:
        return in_collection(collection or self._collection, "documents", *rest)

    def _send(self, call: Call[T]) -> T:
        retrying = unless_lost(self._retrying) if call.conditional else self._retrying
        answer: T = retrying(self._send_once, call)
        return answer

    def _send_once(self, call: Call[T]) -> T:
        with network_errors():
            response = self._http.request(call.method, call.path, **call.options)
        return call.read(response)


class AsyncDocumentCalls:
    """What `AsyncSearchClient` can do with documents."""

    _http: httpx.AsyncClient
    _retrying: AsyncRetrying
    _collection: str | None

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
        """As `SearchClient.put_document`."""
        headers = conditions(if_match, only_new=only_new)
        path = self._path(collection, requests.id_of(document))
        return await self._send(requests.put(path, document, headers, waiting(wait, timeout_ms)))

    async def put_documents(
        self,
        documents: Iterable[WireDocument],
        *,
        wait: bool = False,
        timeout_ms: int | None = None,
        collection: str | None = None,
    ) -> PutResult:
        """As `SearchClient.put_documents`."""
        result = PutResult()
        path, params = self._path(collection), waiting(wait, timeout_ms)
        for offset, content in requests.requests(documents):
            result = requests.joined(
                result, await self._send(requests.put_many(path, content, params)), offset
            )
        return result

    async def get_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        *,
        collection: str | None = None,
    ) -> StoredDocument:
        """As `SearchClient.get_document`."""
        return await self._send(requests.get(self._path(collection, id)))

    async def documents(
        self,
        filters: Filters | None = None,
        *,
        page_size: int = 100,
        collection: str | None = None,
    ) -> AsyncIterator[StoredDocument]:
        """As `SearchClient.documents`."""
        cursor, path = None, self._path(collection)
        while True:
            page = await self._send(requests.page(path, filters, page_size, cursor))
            for document in page.documents:
                yield document
            if (cursor := page.cursor) is None:
                return

    async def delete_document(
        self,
        id: str,  # noqa: A002 (the name on the wire)
        *,
        if_match: Version | None = None,
        collection: str | None = None,
    ) -> None:
        """As `SearchClient.delete_document`."""
        await self._send(requests.delete(self._path(collection, id), conditions(if_match)))

    async def delete_documents(
        self,
        ids: Iterable[str] | None = None,
        *,
        filters: Filters | None = None,
        collection: str | None = None,
    ) -> int:
        """As `SearchClient.delete_documents`."""
        path = self._path(collection)
        return sum([await self._send(call) for call in requests.deletions(path, ids, filters)])

    def _path(self, collection: str | None, *rest: str) -> str:
        return in_collection(collection or self._collection, "documents", *rest)

    async def _send(self, call: Call[T]) -> T:
        retrying = unless_lost(self._retrying) if call.conditional else self._retrying
        return await retrying(self._send_once, call)

    async def _send_once(self, call: Call[T]) -> T:
        with network_errors():
            response = await self._http.request(call.method, call.path, **call.options)
        return call.read(response)
