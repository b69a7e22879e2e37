"""Collections, aliases and snapshots, for both clients."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from service.client import collection_requests as requests
from service.client.collection_requests import (
    Collection,
    CopyProgress,
    async_whole_file,
    whole_file,
)
from service.client.document_requests import Call
from service.client.errors import error_from_answer
from service.client.http import in_collection, network_errors, unless_lost

T = TypeVar("T")


class CollectionCalls:
    """What `SearchClient` can do with collections."""

    _collection: str | None
    _http: httpx.Client
    _retrying: Retrying

    def collections(self) -> list[Collection]:
        """All collections, by name."""
        return self._manage(requests.list_all())

    def collection(self, name: str) -> Collection:
        """The collection that a name or alias leads to. Raises `NotFoundError`."""
        return self._manage(requests.get(name))

    def create_collection(
        self, name: str, settings: Mapping[str, str | int | float | bool] | None = None
    ) -> Collection:
        """Make a collection with `settings` other than the server's; returns when it is loaded.

        Raises `ConflictError` where the name is taken.

        Example:
            client.create_collection("next", {"encoder": "minilm-l6"})
            client.copy_collection("next", source="default")
        """
        return self._manage(requests.create(name, settings))

    def delete_collection(self, name: str) -> None:
        """Remove a collection for good. Raises `ConflictError` where an alias leads to it."""
        self._manage(requests.delete_collection(name))

    def copy_collection(self, name: str, source: str, *, mirror: bool = False) -> CopyProgress:
        """Begin to copy all documents of `source` into `name`; `collection(name).copy` tells more.

        With `mirror` documents that the source does not have are deleted.
        """
        return self._manage(requests.copy(name, source, mirror=mirror))

    def aliases(self) -> dict[str, str]:
        """Alias to collection."""
        return self._manage(requests.list_aliases())

    def set_alias(self, alias: str, collection: str) -> dict[str, str]:
        """Let an alias lead to a collection, at once; returns all aliases."""
        return self._manage(requests.set_alias(alias, collection))

    def delete_alias(self, alias: str) -> None:
        """Remove an alias; the collection stays."""
        self._manage(requests.delete_alias(alias))

    def snapshot(self, path: str | Path, collection: str | None = None) -> None:
        """Write an archive of a collection to `path`, in constant memory; whole or not at all."""
        answer = self._http.stream(
            "GET", in_collection(collection or self._collection or "default", "snapshot")
        )
        with whole_file(Path(path)) as file, network_errors(), answer as response:
            if response.status_code != 200:
                content = response.read()
                raise error_from_answer(response.status_code, response.headers, content)
            for piece in response.iter_bytes():
                file.write(piece)

    def restore(self, path: str | Path, name: str, *, re_embed: bool = False) -> Collection:
        """Make the collection `name` from an archive, in constant memory.

        Raises `ConflictError` where the name is taken or the vectors are another model's; with
        `re_embed` the server's model encodes all documents anew.
        """
        options = requests.restore_options(Path(path).stat().st_size, re_embed=re_embed)
        with Path(path).open("rb") as file, network_errors():
            response = self._http.post(
                in_collection(name, "restore"), content=requests.pieces(file), **options
            )
        return requests.made(response)

    def _manage(self, call: Call[T]) -> T:
        retrying = unless_lost(self._retrying) if call.conditional else self._retrying
        answer: T = retrying(self._manage_once, call)
        return answer

    def _manage_once(self, call: Call[T]) -> T:
        with network_errors():
            response = self._http.request(call.method, call.path, **call.options)
        return call.read(response)


class AsyncCollectionCalls:
    """What `AsyncSearchClient` can do with collections."""

    _collection: str | None
    _http: httpx.AsyncClient
    _retrying: AsyncRetrying

    async def collections(self) -> list[Collection]:
        """As `SearchClient.collections`."""
        return await self._manage(requests.list_all())

    async def collection(self, name: str) -> Collection:
        """As `SearchClient.collection`."""
        return await self._manage(requests.get(name))

    async def create_collection(
        self, name: str, settings: Mapping[str, str | int | float | bool] | None = None
    ) -> Collection:
        """As `SearchClient.create_collection`."""
        return await self._manage(requests.create(name, settings))

    async def delete_collection(self, name: str) -> None:
        """As `SearchClient.delete_collection`."""
        await self._manage(requests.delete_collection(name))

    async def copy_collection(
        self, name: str, source: str, *, mirror: bool = False
    ) -> CopyProgress:
        """As `SearchClient.copy_collection`."""
        return await self._manage(requests.copy(name, source, mirror=mirror))

    async def aliases(self) -> dict[str, str]:
        """As `SearchClient.aliases`."""
        return await self._manage(requests.list_aliases())

    async def set_alias(self, alias: str, collection: str) -> dict[str, str]:
        """As `SearchClient.set_alias`."""
        return await self._manage(requests.set_alias(alias, collection))

    async def delete_alias(self, alias: str) -> None:
        """As `SearchClient.delete_alias`."""
        await self._manage(requests.delete_alias(alias))

    async def snapshot(self, path: str | Path, collection: str | None = None) -> None:
        """As `SearchClient.snapshot`."""
        answer = self._http.stream(
            "GET", in_collection(collection or self._collection or "default", "snapshot")
        )
        async with async_whole_file(Path(path)) as file:
            with network_errors():
                async with answer as response:
                    if response.status_code != 200:
                        content = await response.aread()
                        raise error_from_answer(response.status_code, response.headers, content)
                    async for piece in response.aiter_bytes():
                        await asyncio.to_thread(file.write, piece)

    async def restore(self, path: str | Path, name: str, *, re_embed: bool = False) -> Collection:
        """As `SearchClient.restore`."""
        file = await asyncio.to_thread(Path(path).open, "rb")
        with file, network_errors():
            options = requests.restore_options(os.fstat(file.fileno()).st_size, re_embed=re_embed)
            response = await self._http.post(
                in_collection(name, "restore"), content=requests.async_pieces(file), **options
            )
        return requests.made(response)

    async def _manage(self, call: Call[T]) -> T:
        retrying = unless_lost(self._retrying) if call.conditional else self._retrying
        answer: T = await retrying(self._manage_once, call)
        return answer

    async def _manage_once(self, call: Call[T]) -> T:
        with network_errors():
            response = await self._http.request(call.method, call.path, **call.options)
        return call.read(response)
