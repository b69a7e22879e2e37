"""What the client asks of a server about collections, done in a data folder."""

from dataclasses import replace
from pathlib import Path

from service.durable import new_file
from service.engine.build import encoder_identity
from service.engine.collection_admin import CollectionInfo
from service.engine.making import Maker, archive
from service.settings import Settings
from service.store.data_folder import DataFolder


class FolderCollections:
    """Methods with the client's names, on a data folder that no server has open."""

    def __init__(self, folder: DataFolder, settings: Settings) -> None:
        self._folder, self._catalog = folder, folder.catalog
        # The owner of the folder may name any model.
        self._maker = Maker(
            folder=folder, settings=settings, identify=encoder_identity, trusted=True
        )
        self.create_collection, self.delete_collection = self._maker.create, folder.drop
        self.set_alias, self.delete_alias = folder.catalog.set_alias, folder.catalog.remove_alias

    def collections(self) -> list[CollectionInfo]:
        found = []
        for name, record in sorted(self._catalog.collections.items()):
            aliases = sorted(alias for alias, to in self._catalog.aliases.items() if to == name)
            info = CollectionInfo(name, aliases, record.created, record.settings, [])
            with self._folder.collection(name).store.view() as view:
                documents, passages = view.counts.documents, view.counts.passages
                staged = view.unseen[0]
            found.append(replace(info, documents=documents, passages=passages, staged=staged))
        return found

    def snapshot(self, path: Path, collection: str) -> None:
        with new_file(path) as file:
            file.writelines(archive(self._folder, collection))

    def restore(self, path: Path, name: str, *, re_embed: bool) -> None:
        """Make a collection from an archive; a server encodes its documents if `re_embed`."""
        with path.open("rb") as file:
            self._maker.restore(name, file, re_embed=re_embed)
