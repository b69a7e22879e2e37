"""One collection that is open: searched, written to and indexed at the same time."""

from dataclasses import dataclass, field

from service.errors import StoreError
from service.index.data_folder import CollectionFolder
from service.pipeline.documents import Documents
from service.pipeline.indexer import Indexer
from service.pipeline.ingest import Ingestor
from service.pipeline.search import Searcher


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
        """`ok`, or what is wrong with the index."""
        try:
            with self.searcher.retriever.index.view(self.folder.store) as (store, index):
                stored, found = store.counts.passages, len(index)
        except StoreError:
            return "the store cannot be read; see the log"
        return "ok" if found == stored else "index and store differ; restart"

    def close(self) -> None:
        """Stop the threads; the folder stays open."""
        self.documents.close()
        self.searcher.close()
        self.indexer.close()
