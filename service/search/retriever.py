"""Stage one: the passages of a store that fit a query best, with what a hit shows of them."""

from service.index.live_index import LiveIndex
from service.protocols import Store
from service.search.hybrid import Hybrid
from service.search.recall import Finder, Recall
from service.store.allowed_passages import AllowedPassages
from service.types import Filters, Mode, Vectors


class Retriever:
    """Finds candidates in a store through the index that follows it.

    `mode` is that of a search which names none, `hybrid` how the hybrid mode fuses.
    """

    def __init__(
        self,
        store: Store,
        index: LiveIndex,
        *,
        passages_per_document: int,
        mode: Mode = "dense",
        hybrid: Hybrid = Hybrid(),  # noqa: B008 (frozen)
    ) -> None:
        self.index = index
        self._store = store
        self._per_document = passages_per_document
        self._mode, self._hybrid = mode, hybrid
        self._allowed = AllowedPassages()

    @property
    def version(self) -> str:
        """Another one after any change of what a search may find."""
        with self._store.view() as store:
            return f"{self.index.latest.generation}+{store.revision}"

    def find(
        self,
        vectors: Vectors,
        count: int,
        filters: Filters,
        *,
        text: str = "",
        mode: Mode | None = None,
    ) -> Recall:
        """The best `count` passages of one query: its vectors, (windows, dim), and its `text`.

        The dense mode needs no text. Filters narrow before the count is taken, and no document
        takes up more than its share of passages, so one long document cannot fill the candidates.
        All is read from one view of the store: no write shows by halves.
        """
        with self.index.view(self._store) as (store, index):
            allowed = self._allowed.of(store, filters) if filters else None
            finder = Finder(store, index, vectors, allowed, self._per_document)
            match mode or self._mode:
                case "dense":
                    return Recall(finder.dense(count), index)
                case "sparse":
                    return Recall(finder.sparse(text, count), index, "sparse_score")
                case "hybrid":
                    found = finder.hybrid(text, count, self._hybrid)
                    return Recall(found, index, f"hybrid ({self._hybrid.fusion})")
