"""Collections, aliases and snapshots."""

import os
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

import httpx

from secondpass_client.archives import Download, pieces_of
from secondpass_client.calls import Calls, never, path_of, turned_away
from secondpass_client.records import Collection, CopyProgress

_RESTORE_TIMEOUT = httpx.Timeout(90.0, read=3600.0)
"""The server answers a restore once the collection is there."""


class CollectionCalls(Calls):
    """The calls on collections."""

    async def collections(self) -> list[Collection]:
        """All collections, by name."""
        return await self._ask(list[Collection], "GET", "collections", part="collections")

    async def collection(self, name: str) -> Collection:
        """The collection that a name or alias leads to. Raises `NotFoundError`."""
        return await self._ask(Collection, "GET", path_of("collections", name))

    async def create_collection(
        self, name: str, settings: Mapping[str, str | int | float | bool] | None = None
    ) -> Collection:
        """Make a collection with `settings` other than the server's; returns when it is loaded.

        Raises `ConflictError` if the name is taken.

        Example:
            client.create_collection("next", {"encoder": "minilm-l6"})
            client.copy_collection("next", source="default")
        """
        body = {"name": name, "settings": dict(settings or {})}
        return await self._ask(
            Collection, "POST", "collections", json=body, accepted=(201,), again=turned_away
        )

    async def delete_collection(self, name: str) -> None:
        """Remove a collection for good. Raises `ConflictError` if an alias leads to it."""
        path = path_of("collections", name)
        await self._send("DELETE", path, accepted=(204,), again=turned_away)

    async def copy_collection(
        self, name: str, source: str, *, mirror: bool = False
    ) -> CopyProgress:
        """Begin to copy all documents of `source` into `name`; `collection(name).copy` tells more.

        With `mirror` documents that the source does not have are deleted.
        """
        path, body = path_of("collections", name, "copy"), {"from": source, "mirror": mirror}
        return await self._ask(
            CopyProgress, "POST", path, json=body, accepted=(202,), again=turned_away
        )

    async def aliases(self) -> dict[str, str]:
        """Alias to collection."""
        return await self._ask(dict[str, str], "GET", "aliases", part="aliases")

    async def set_alias(self, alias: str, collection: str) -> dict[str, str]:
        """Let an alias lead to a collection, at once; returns all aliases."""
        path, body = path_of("aliases", alias), {"collection": collection}
        return await self._ask(dict[str, str], "PUT", path, part="aliases", json=body)

    async def delete_alias(self, alias: str) -> None:
        """Remove an alias; the collection stays."""
        path = path_of("aliases", alias)
        await self._send("DELETE", path, accepted=(204,), again=turned_away)

    async def snapshot(self, path: str | Path, collection: str | None = None) -> None:
        """Write an archive of a collection to `path`, in constant memory; whole or not at all."""
        name, offload = collection or self._collection or "default", self._wire.offload
        download = await offload(Download, Path(path))
        try:
            archive = self._wire.stream(path_of("collections", name, "snapshot"))
            async with aclosing(archive):
                async for piece in archive:
                    await offload(download.write, piece)
            await offload(download.keep)
        finally:
            await offload(download.close)

    async def restore(self, path: str | Path, name: str, *, re_embed: bool = False) -> Collection:
        """Make the collection `name` from an archive, in constant memory.

        Raises `ConflictError` if the name is taken or the vectors are another model's; with
        `re_embed` the server's model encodes all documents again.
        """
        with await self._wire.offload(Path(path).open, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return await self._ask(
                Collection,
                "POST",
                path_of("collections", name, "restore"),
                params={"re_embed": str(re_embed).lower()},
                headers={"Content-Type": "application/x-tar", "Content-Length": str(size)},
                content=pieces_of(file),
                timeout=_RESTORE_TIMEOUT,
                accepted=(201,),
                again=never,
            )
