"""What the client asks of a server about collections, done in a data folder."""

from collections.abc import Mapping
from pathlib import Path

from service.durable import new_file
from service.engine.build import encoder_identity
from service.engine.collection_admin import CollectionInfo
from service.engine.making import Maker, archive
from service.settings import Settings
from service.store.catalog import SettingValue
from service.store.data_folder import DataFolder


class FolderCollections:
    """Methods of the client's name and kind, on a data folder that no server has open."""

    def __init__(self, folder: DataFolder, settings: Settings) -> None:
        self._folder, self._catalog = folder, folder.catalog
        # The owner of the folder may name any model.
        self._maker = Maker(
            folder=folder, settings=settings, identify=encoder_identity, trusted=True
        )

    def collections(self) -> list[CollectionInfo]:
        """All collections, by name."""
        return [self._info(name) for name in sorted(self._catalog.collections)]

    def create_collection(self, name: str, settings: Mapping[str, SettingValue]) -> None:
        """Make an empty collection."""
        self._maker.create(name, settings)

    def delete_collection(self, name: str) -> None:
        """Remove a collection for good."""
        self._folder.drop(name)

    def set_alias(self, alias: str, collection: str) -> None:
        """Let an alias lead to a collection."""
        self._catalog.set_alias(alias, collection)

    def delete_alias(self, alias: str) -> None:
        """Remove an alias; the collection stays."""
        self._catalog.remove_alias(alias)

    def snapshot(self, path: Path, collection: str) -> None:
        """Write an archive of a collection."""
        with new_file(path) as file:
            file.writelines(archive(self._folder, collection))

    def restore(self, path: Path, name: str, *, re_embed: bool) -> None:
        """Make a collection from an archive; what is to be encoded again waits for a server."""
        with path.open("rb") as file:
            self._maker.restore(name, file, re_embed=re_embed)

    def _info(self, name: str) -> CollectionInfo:
        record = self._catalog.collections[name]
        aliases = sorted(alias for alias, to in self._catalog.aliases.items() if to == name)
        with self._folder.collection(name).store.view() as view:
            counts, (staged, _) = view.counts, view.unseen
        return CollectionInfo(
            name,
            aliases,
            record.created,
            record.settings,
            [],
            documents=counts.documents,
            passages=counts.passages,
            staged=staged,
        )
