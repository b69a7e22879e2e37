"""A collection is made: the same way for the server and for the command line."""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO

from service.engine.build import index_identity
from service.engine.collection_settings import effective_settings
from service.engine.opening import build_index
from service.engine.restoring import fill, own_settings, require_vectors_of
from service.settings import Settings
from service.store.catalog import SettingValue
from service.store.data_folder import CollectionFolder, DataFolder
from service.store.snapshot import write
from service.store.snapshot_reader import Snapshot
from service.types import EncoderIdentity

Activate = Callable[[str, CollectionFolder, Settings], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes collections in a data folder. A failure leaves nothing behind.

    `identify` tells what decides an encoder's vectors. Callers who are not `trusted` may name known
    models only. `activate` lets searches find the collection: the catalog gets the name within it.
    `go_on` is called between lots of a restore and ends it by raising.

    The methods raise `InvalidInputError`, `ConflictError` where the name is taken, `ModelError` and
    `StoreError`.
    """

    folder: DataFolder
    settings: Settings
    identify: Callable[[Settings], EncoderIdentity]
    trusted: bool = False
    activate: Activate = lambda *_: nullcontext()
    go_on: Callable[[], None] = lambda: None

    def create(self, name: str, own: Mapping[str, SettingValue]) -> None:
        """A new, empty collection with settings of its own."""
        self._make(name, own)

    def restore(self, name: str, file: BinaryIO, *, re_embed: bool = False) -> None:
        """Make the collection that an archive holds.

        With `re_embed` the models are those of `settings`, and all documents wait to be encoded.
        Raises `InvalidInputError` for any damage, `ConflictError` for another model's vectors.
        """
        self.folder.catalog.require_free(name)
        snapshot = Snapshot.verified(file)
        self._make(name, own_settings(snapshot, re_embed=re_embed), snapshot, re_embed=re_embed)

    def _make(
        self,
        name: str,
        own: Mapping[str, SettingValue],
        snapshot: Snapshot | None = None,
        *,
        re_embed: bool = False,
    ) -> None:
        self.folder.catalog.require_free(name)
        effective = effective_settings(own, self.settings, trusted=self.trusted)
        encoder = self.identify(effective)
        identity = index_identity(effective, encoder)
        if snapshot and not re_embed:
            require_vectors_of(snapshot, identity)
        with self.folder.making(name) as made:
            if snapshot:
                fill(
                    made.store,
                    snapshot,
                    identity,
                    self.settings.document_limits,
                    re_embed=re_embed,
                    go_on=self.go_on,
                )
            build_index(effective, made, encoder)
            with self.activate(name, made, effective):
                # As they were checked, whatever their types were. From here on it is visible.
                self.folder.catalog.add(name, {key: getattr(effective, key) for key in own})


def archive(folder: DataFolder, name: str) -> Generator[bytes]:
    """The archive of a collection as it is when the first piece is asked for.

    Close it to let go of the store where it is not read to its end. Raises `NotFoundError`.
    """
    found = folder.catalog.resolve(name)
    with folder.collection(found).store.view() as view:
        yield from write(view, folder.catalog.collections[found].settings)
