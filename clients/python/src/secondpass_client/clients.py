"""The two clients. The calls are written once, as coroutines: `AsyncSearchClient` has them as they
are, `SearchClient` as methods that run one to its end.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from secondpass_client.collections import CollectionCalls
from secondpass_client.documents import DocumentCalls
from secondpass_client.jobs import JobCalls
from secondpass_client.labels import LabelCalls
from secondpass_client.records import WireDocument
from secondpass_client.searches import SearchCalls
from secondpass_client.wire import AsyncWire, BlockingWire, http_options, run

P = ParamSpec("P")
T = TypeVar("T")


class _AllCalls(SearchCalls, DocumentCalls, JobCalls, LabelCalls, CollectionCalls):
    pass


def _blocking(
    call: Callable[Concatenate[_AllCalls, P], Awaitable[T]],
) -> Callable[Concatenate["SearchClient", P], T]:
    """The same call, for the blocking client."""

    @wraps(call)
    def method(self: "SearchClient", /, *given: P.args, **named: P.kwargs) -> T:
        return run(call(self._calls, *given, **named))

    return method


def _iterating(
    call: Callable[Concatenate[_AllCalls, P], AsyncIterator[T]],
) -> Callable[Concatenate["SearchClient", P], Iterator[T]]:
    """The same iterator, for the blocking client."""

    @wraps(call)
    def method(self: "SearchClient", /, *given: P.args, **named: P.kwargs) -> Iterator[T]:
        items = call(self._calls, *given, **named)
        with suppress(StopAsyncIteration):
            while True:
                yield run(anext(items))

    return method


class SearchClient:
    """A blocking client; threads may share one.

    `timeout` (seconds) bounds each wait for the network in one attempt. A request is tried again up
    to `retries` times if the server is overloaded, not ready or out of reach: after growing, random
    pauses, or as long as `Retry-After` asks, at most 30 s. `collection`, a name or an alias, is for
    all calls that name none themselves. `transport` replaces the network.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        collection: str | None = None,
        timeout: float = 90.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._wire = BlockingWire(transport, http_options(base_url, api_key, timeout))
        self._calls = _AllCalls(self._wire, collection, retries)

    search = _blocking(SearchCalls.search)
    search_batch = _blocking(SearchCalls.search_batch)
    rerank = _blocking(SearchCalls.rerank)
    similarity = _blocking(SearchCalls.similarity)
    health = _blocking(SearchCalls.health)
    ready = _blocking(SearchCalls.ready)
    key = _blocking(SearchCalls.key)

    put_document = _blocking(DocumentCalls.put_document)
    patch_document = _blocking(DocumentCalls.patch_document)
    put_documents = _blocking(DocumentCalls.put_documents)
    get_document = _blocking(DocumentCalls.get_document)
    documents = _iterating(DocumentCalls.documents)
    count_documents = _blocking(DocumentCalls.count_documents)
    fields = _blocking(DocumentCalls.fields)
    delete_document = _blocking(DocumentCalls.delete_document)
    delete_documents = _blocking(DocumentCalls.delete_documents)

    # Written out because it takes no asynchronous iterable.
    def bulk(
        self,
        source: str | Path | Iterable[WireDocument],
        *,
        collection: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """As `AsyncSearchClient.bulk`."""
        upload = self._calls.bulk(source, collection=collection, idempotency_key=idempotency_key)
        return run(upload)

    job = _blocking(JobCalls.job)
    jobs = _blocking(JobCalls.jobs)
    cancel = _blocking(JobCalls.cancel)
    wait = _blocking(JobCalls.wait)

    label = _blocking(LabelCalls.label)
    send_feedback = _blocking(LabelCalls.send_feedback)
    labels = _iterating(LabelCalls.labels)
    label_counts = _blocking(LabelCalls.label_counts)
    delete_labels = _blocking(LabelCalls.delete_labels)
    export_labels = _blocking(LabelCalls.export_labels)
    evaluate = _blocking(LabelCalls.evaluate)
    calibrate = _blocking(LabelCalls.calibrate)
    calibration = _blocking(LabelCalls.calibration)
    restore_calibration = _blocking(LabelCalls.restore_calibration)

    collections = _blocking(CollectionCalls.collections)
    collection = _blocking(CollectionCalls.collection)
    create_collection = _blocking(CollectionCalls.create_collection)
    delete_collection = _blocking(CollectionCalls.delete_collection)
    copy_collection = _blocking(CollectionCalls.copy_collection)
    aliases = _blocking(CollectionCalls.aliases)
    set_alias = _blocking(CollectionCalls.set_alias)
    delete_alias = _blocking(CollectionCalls.delete_alias)
    snapshot = _blocking(CollectionCalls.snapshot)
    restore = _blocking(CollectionCalls.restore)

    def close(self) -> None:
        """Close the connections; leaving `with` does it too."""
        run(self._wire.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncSearchClient(_AllCalls):
    """The same for asyncio; tasks of one event loop may share it.

    Example:
        async with AsyncSearchClient() as client:
            result = await client.search("handle several exceptions")
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        collection: str | None = None,
        timeout: float = 90.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        wire = AsyncWire(transport, http_options(base_url, api_key, timeout))
        super().__init__(wire, collection, retries)

    async def aclose(self) -> None:
        """Close the connections; leaving `async with` does it too."""
        await self._wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()
