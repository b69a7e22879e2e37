"""What a running search service holds."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from service.errors import StoreError
from service.index.data_folder import DataFolder
from service.pipeline.search import Searcher
from service.pipeline.similarity import PairModel


@dataclass(slots=True)
class Engine:
    """Models, index and data folder, loaded. `notes` is what an operator should know.

    `pair_model` is None where the settings name none.
    """

    folder: DataFolder
    searcher: Searcher
    notes: list[str] = field(default_factory=list)
    pair_model: PairModel | None = None

    @property
    def documents(self) -> int:
        """Documents in the index."""
        return self.searcher.retriever.generation.documents

    @property
    def passages(self) -> int:
        """Passages in the index."""
        return self.searcher.retriever.generation.passages

    def checks(self) -> dict[str, str]:
        """`ok` or a complaint for each part; the models were proven when they were loaded."""
        try:
            stored = self.folder.store.counts().passages
        except StoreError:
            return {"models": "ok", "index": "the store cannot be read; see the log"}
        index = len(self.searcher.retriever.generation.index)
        same = index == stored
        return {"models": "ok", "index": "ok" if same else "index and store differ; restart"}

    def close(self) -> None:
        """Stop the threads, then let the data folder go."""
        self.searcher.close()
        if self.pair_model is not None:
            self.pair_model.close()
        self.folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
