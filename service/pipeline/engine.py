"""What a running search service holds."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from service.index.data_folder import DataFolder
from service.pipeline.search import Searcher


@dataclass(slots=True)
class Engine:
    """Models, index and data folder, loaded. `notes` is what an operator should know."""

    folder: DataFolder
    searcher: Searcher
    notes: list[str] = field(default_factory=list)

    @property
    def documents(self) -> int:
        """Documents in the index."""
        return self.searcher.retriever.generation.documents

    @property
    def passages(self) -> int:
        """Passages in the index."""
        return self.searcher.retriever.generation.passages

    def checks(self) -> dict[str, str]:
        """`ok` or a complaint for each part."""
        index = self.searcher.retriever.generation.index
        whole = len(index) == self.passages
        return {"models": "ok", "index": "ok" if whole else "the index lacks passages"}

    def close(self) -> None:
        """Stop the threads, then let the data folder go."""
        self.searcher.close()
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
