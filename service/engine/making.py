"""Makes collections, empty or from a snapshot, the same way for server and command line."""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import BinaryIO

from service.engine.build import index_identity
from service.engine.collection_settings import checked_settings
from service.engine.live_collection import build_index
from service.errors import ConflictError
from service.settings import Settings, settings_about
from service.store.catalog import SettingValue
from service.store.data_folder import CollectionFolder, DataFolder
from service.store.snapshot import write
from service.store.snapshot_reader import Snapshot
from service.store_protocol import Store
from service.types import DocumentLimits, EncoderIdentity, IndexIdentity, StoredRow
from service.write.row_batches import row_batches

_LOT_ROWS = 256
_LOT_CHARS = 4_000_000

Activate = Callable[[str, CollectionFolder, Settings], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes collections in a data folder. A failure leaves nothing behind.

    `identify` returns the identity of a setting's encoder. Callers who are not `trusted` may name
    known models only. `activate` lets searches find the collection; the catalog gets the name
    within it. `go_on` is called between lots of a restore and ends it by raising.

    The methods raise `InvalidInputError`, `ConflictError` if the name is taken, `ModelError` and
    `StoreError`.
    """

    folder: DataFolder
    settings: Settings
    identify: Callable[[Settings], EncoderIdentity]
    trusted: bool = False
    activate: Activate = lambda *_: nullcontext()
    go_on: Callable[[], None] = lambda: None

    def create(self, name: str, own: Mapping[str, SettingValue]) -> None:
        """Make an empty collection with settings of its own."""
        self._make(name, own)

    def restore(self, name: str, file: BinaryIO, *, re_embed: bool = False) -> None:
        """Make the collection that an archive holds.

        With `re_embed` the models are those of `settings`, and all documents wait to be encoded.
        Raises `InvalidInputError` for any damage, `ConflictError` for another model's vectors.
        """
        self.folder.catalog.require_free(name)
        snapshot = Snapshot.verified(file)
        left_out = settings_about("encoder", "reranker") if re_embed else ()
        own = {n: v for n, v in snapshot.manifest.settings.items() if n not in left_out}
        self._make(name, own, snapshot, re_embed=re_embed)

    def _make(
        self,
        name: str,
        own: Mapping[str, SettingValue],
        snapshot: Snapshot | None = None,
        *,
        re_embed: bool = False,
    ) -> None:
        self.folder.catalog.require_free(name)
        effective = checked_settings(own, self.settings, trusted=self.trusted)
        encoder = self.identify(effective)
        identity = index_identity(effective, encoder)
        if snapshot and not re_embed:
            _require_vectors_of(snapshot, identity)
        with self.folder.making(name) as made:
            if snapshot:
                limits = self.settings.document_limits
                fill(made.store, snapshot, identity, limits, re_embed=re_embed, go_on=self.go_on)
            build_index(effective, made, encoder)
            with self.activate(name, made, effective):
                # The values as validated, whatever types the caller gave. It is visible from now.
                self.folder.catalog.add(name, {key: getattr(effective, key) for key in own})


def archive(folder: DataFolder, name: str) -> Generator[bytes]:
    """The archive of a collection as it is when the first piece is asked for.

    Close the generator if you do not read it to its end. Raises `NotFoundError`.
    """
    found = folder.catalog.resolve(name)
    with folder.collection(found).store.view() as view:
        yield from write(view, folder.catalog.collections[found].settings)


def _require_vectors_of(snapshot: Snapshot, identity: IndexIdentity) -> None:
    """Raise `ConflictError` unless this encoder made the vectors. Names may differ."""
    stored = snapshot.manifest.encoder
    if stored is None:
        return
    differences = stored.differences(identity)
    differences.pop("model", None)
    if differences:
        raise ConflictError(
            f"the snapshot's vectors are {stored.model}'s, not those of {identity.model}: "
            f"{'; '.join(differences.values())}. Restore it with re_embed=true to encode its "
            "documents again"
        )


def fill(
    store: Store,
    snapshot: Snapshot,
    identity: IndexIdentity,
    limits: DocumentLimits,
    *,
    re_embed: bool = False,
    go_on: Callable[[], None] = lambda: None,
) -> None:
    """Copy a verified snapshot into an empty store that is not visible yet.

    With `re_embed`, without its vectors: all documents then wait to be encoded. `go_on` is called
    between lots and may raise. Raises `InvalidInputError` for content that is not sound, or for a
    document that exceeds `limits`.
    """
    stored = snapshot.manifest.encoder
    store.set_identity(stored if re_embed and stored else identity)
    rows = snapshot.rows(limits)
    if re_embed:
        rows = map(_without_vectors, rows)
    for lot in row_batches(rows, lambda row: len(row.document.text), _LOT_CHARS, _LOT_ROWS):
        go_on()
        store.restore(lot, snapshot.manifest.revision)
    store.restore([], snapshot.manifest.revision)  # an empty snapshot has a revision too
    if re_embed:
        store.start_over(identity)


def _without_vectors(row: StoredRow) -> StoredRow:
    no_vectors = row.vectors[:0].copy()  # a view would keep all of them in memory
    return replace(row, spans=(), vectors=no_vectors)
