"""A snapshot becomes a collection's store."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from service.errors import ConflictError
from service.protocols import Store
from service.settings import settings_about
from service.store.catalog import SettingValue
from service.store.snapshot_reader import Snapshot
from service.types import DocumentLimits, IndexIdentity, StoredRow

_LOT_ROWS = 256
_LOT_CHARS = 4_000_000


def own_settings(snapshot: Snapshot, *, re_embed: bool) -> dict[str, SettingValue]:
    """Those of the collection that the snapshot is of, without its models where they go."""
    left_out = settings_about("encoder", "reranker") if re_embed else ()
    return {n: v for n, v in snapshot.manifest.settings.items() if n not in left_out}


def require_vectors_of(snapshot: Snapshot, identity: IndexIdentity) -> None:
    """Raise `ConflictError` unless the vectors are this encoder's, whatever it is called."""
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
    """Take all of a verified snapshot into an empty store that is not visible yet.

    No document may exceed `limits`. With `re_embed` without its vectors: all documents then wait to
    be encoded. `go_on` is called between lots and may raise. Raises `InvalidInputError` for content
    that is not sound.
    """
    stored = snapshot.manifest.encoder
    store.set_identity(stored if re_embed and stored else identity)
    for lot in _lots(snapshot.rows(limits), re_embed=re_embed):
        go_on()
        store.restore(lot, snapshot.manifest.revision)
    if re_embed:
        store.start_over(identity)


def _lots(rows: Iterator[StoredRow], *, re_embed: bool) -> Iterator[list[StoredRow]]:
    lot: list[StoredRow] = []
    chars = 0
    for row in rows:
        nothing = np.empty((0, row.vectors.shape[1]), np.float32)
        lot.append(replace(row, spans=(), vectors=nothing) if re_embed else row)
        chars += len(row.document.text)
        if len(lot) >= _LOT_ROWS or chars >= _LOT_CHARS:
            yield lot
            lot, chars = [], 0
    yield lot
