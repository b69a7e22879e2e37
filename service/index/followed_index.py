"""The live index of a process that builds no generation but takes those that another builds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from service.index.document_store import DocumentStore
from service.index.generation import Generation
from service.index.live_index import IndexView, LiveIndex, followed
from service.index.store_view import StoreView


class FollowedIndex(LiveIndex):
    """As `LiveIndex`; `load` gives the generation that is current at that moment."""

    def __init__(self, store: DocumentStore, load: Callable[[], Generation]) -> None:
        """Raises `StoreError` where there is no sound generation."""
        self._store, self._load = store, load
        self._loading = threading.Lock()
        self._with_current(super().__init__)

    @contextmanager
    def view(self, store: DocumentStore) -> Iterator[tuple[StoreView, IndexView]]:
        """As `LiveIndex.view`; waits for the current generation only where it has to.

        The one before, with what came since beside it, does as well for as long as the store lists
        all that was removed since. Raises `StoreError`.
        """
        with ExitStack() as held:
            while (found := self._entered(store, held)) is None:
                self.take_newest()
            yield found

    def take_newest(self) -> None:
        """Search in the current generation from here on; searches go on while it is loaded.

        Raises `StoreError`.
        """
        with self._loading:
            with self._store.view() as store:
                current = store.generation_name
            if current != self._view.generation:
                self._with_current(self.swap)

    def _entered(self, store: DocumentStore, held: ExitStack) -> tuple[StoreView, IndexView] | None:
        """Both at this moment, the store's view in `held`; None where the generation is too old."""
        with ExitStack() as opened, self._lock:
            view = opened.enter_context(store.view())
            mine = self._view
            current = view.generation_name == mine.generation
            if not current and not view.lists_removed(mine.last_removed):
                return None
            self._view = followed(mine, view)
            held.enter_context(opened.pop_all())
            return view, self._view

    def _with_current(self, use: Callable[[Generation, StoreView], None]) -> None:
        """Call `use` with a generation and a moment of the store in which it is the current one."""
        while True:
            generation = self._load()
            with self._store.view() as view:
                if view.generation_name == generation.name:  # else another one came meanwhile
                    use(generation, view)
                    return
