"""One collection that is open: searched, written to and indexed at the same time."""

from dataclasses import dataclass, field

from service.search.searcher import Searcher
from service.store.data_folder import CollectionFolder
from service.write.document_writes import Documents
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor


@dataclass(slots=True)
class LiveCollection:
    """Store, index and models of one collection. `notes` is what an operator should know."""

    name: str
    folder: CollectionFolder
    searcher: Searcher
    documents: Documents
    indexer: Indexer
    ingestor: Ingestor
    notes: list[str] = field(default_factory=list)

    def check(self) -> str:
        """`ok`, or what is wrong with the index. Raises `StoreError` for what is with the store."""
        self.folder.store.check()
        with self.searcher.retriever.index.view(self.folder.store) as (store, index):
            stored, found = store.counts.passages, len(index)
        if not self.indexer.is_index_whole():
            self.indexer.wake()  # the compactor builds the next one
            return "files of the index are gone; it is built again"
        return "ok" if found == stored else "index and store differ; restart"

    def close(self) -> None:
        """Stop the threads; the folder stays open."""
        self.documents.close()
        self.searcher.close()
        self.indexer.close()
