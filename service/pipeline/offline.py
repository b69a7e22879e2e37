"""Collections of a data folder that no server has open."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.durable import new_file
from service.index.catalog import CollectionRecord, SettingValue
from service.index.data_folder import CollectionFolder, DataFolder
from service.index.generation import open_or_build
from service.index.snapshot import write
from service.index.snapshot_reader import Snapshot
from service.pipeline.build import encoder_identity, index_identity
from service.pipeline.collection_settings import effective_settings
from service.pipeline.restoring import fill, own_settings, require_vectors_of
from service.settings import Settings

Row = tuple[str, list[str], int | None, int | None, int | None, dict[str, Any]]


def overview(settings: Settings) -> list[Row]:
    """Name, aliases, documents, passages, documents that wait, and settings of each collection."""
    rows: list[Row] = []
    with DataFolder.open(settings.data_dir) as folder:
        for name, record in sorted(folder.catalog.collections.items()):
            aliases = sorted(a for a, c in folder.catalog.aliases.items() if c == name)
            with folder.collection(name).store.view() as view:
                counts, (staged, _) = view.counts, view.unseen
            rows.append((name, aliases, counts.documents, counts.passages, staged, record.settings))
    return rows


def create(settings: Settings, name: str, own: Mapping[str, SettingValue]) -> None:
    """A new, empty collection. Whoever has the folder may name any model."""
    with DataFolder.open(settings.data_dir) as folder:
        _make(folder, name, own, _effective(own, settings), lambda _made: None)


def snapshot(settings: Settings, name: str, out: Path) -> None:
    """Write an archive to `out`, whole or not at all. Raises `StoreError`."""
    with DataFolder.open(settings.data_dir) as folder:
        found = folder.catalog.resolve(name)
        own = folder.catalog.collections[found].settings
        with new_file(out) as file, folder.collection(found).store.view() as view:
            for piece in write(view, own):
                file.write(piece)


def restore(settings: Settings, path: Path, name: str, *, re_embed: bool) -> None:
    """As `Collections.restore`; documents to be encoded anew wait for a server."""
    with DataFolder.open(settings.data_dir) as folder, path.open("rb") as file:
        folder.catalog.require_free(name)
        found = Snapshot.verified(file)
        own = own_settings(found, re_embed=re_embed)
        effective = _effective(own, settings)
        identity = index_identity(effective, encoder_identity(effective))
        if not re_embed:
            require_vectors_of(found, identity)
        _make(
            folder,
            name,
            own,
            effective,
            lambda made: fill(
                made.store, found, identity, settings.document_limits, re_embed=re_embed
            ),
        )


def checked(settings: Settings, path: Path) -> dict[str, object]:
    """What is in an archive, all of which was read and compared. Raises `InvalidInputError`."""
    with path.open("rb") as file:
        found = Snapshot.verified(file)
        for _ in found.rows(settings.document_limits):
            pass
    manifest = found.manifest
    return {
        "created": manifest.created,
        "documents": manifest.documents,
        "staged": manifest.staged,
        "passages": manifest.passages,
        "encoder": manifest.encoder.model if manifest.encoder else "none",
        "revision": manifest.revision,
    }


def _effective(own: Mapping[str, SettingValue], settings: Settings) -> Settings:
    record = CollectionRecord(created=datetime.now(UTC), settings=dict(own))
    return effective_settings(record, settings, trusted=True)


def _make(
    folder: DataFolder,
    name: str,
    own: Mapping[str, SettingValue],
    effective: Settings,
    fill: Callable[[CollectionFolder], None],
) -> None:
    identity = index_identity(effective, encoder_identity(effective))
    with folder.making(name) as made:
        fill(made)
        open_or_build(
            made.store, made.generations, identity, hnsw_threshold=effective.hnsw_threshold
        )
        folder.catalog.add(name, own)
