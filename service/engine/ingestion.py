"""Writes into a collection without a server: ingest and reindex."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.engine.build import index_identity
from service.engine.collection_settings import settings_of
from service.engine.live_collection import build_index
from service.engine.model_pool import ModelPool
from service.engine.passage_backend import note_backend, other_backend
from service.settings import Settings
from service.store.catalog import MAIN
from service.store.data_folder import DataFolder
from service.write.ingestor import Ingestor
from service.write.passage_states import open_states


@contextmanager
def ingesting(
    folder: DataFolder,
    settings: Settings,
    *,
    collection: str = MAIN,
    chunked: bool = True,
    start_over: bool = False,
) -> Iterator[Ingestor]:
    """Open the collection of a name or alias for writing; builds its index at the end.

    The collection's own settings apply. `chunked` is as for `Ingestor`. Vectors of another encoder
    raise `IndexMismatchError`, but with `start_over` their documents wait to be encoded again.
    Raises `NotFoundError`.
    """
    name = folder.catalog.resolve(collection)
    settings = settings_of(folder.catalog.collections[name].settings, settings)
    opened = folder.collection(name)
    models = ModelPool()
    encoder = models.encoder(settings)
    identity = index_identity(settings, encoder.identity)
    with opened.store.view() as view:
        stored = view.identity
    if start_over and (stored != identity or other_backend(opened.store, encoder)):
        opened.store.start_over(identity)
    opened.store.set_identity(identity)
    note_backend(opened.store, encoder)
    # Only token states that come with the vectors: the server makes those that need another pass.
    reranker = models.state_reranker(settings, encoder)
    states = open_states(settings, opened, reranker, encoder.identity)
    try:
        overlap = settings.passage_overlap
        ingestor = Ingestor(opened.store, encoder, overlap=overlap, chunked=chunked, states=states)
        yield ingestor
        ingestor.index_waiting()
    finally:
        if states:
            states.close()
    build_index(settings, opened, encoder.identity, complete=True)


def reindex(
    folder: DataFolder,
    settings: Settings,
    on_progress: Callable[[int], None] = lambda _n: None,
    *,
    collection: str = MAIN,
) -> int:
    """Encode what the settings' encoder has not encoded yet; returns how many documents.

    After an interruption the next run, or a server, continues where it stopped; searches see the
    documents that are done. Raises `NotFoundError`.
    """
    with ingesting(folder, settings, collection=collection, start_over=True) as ingestor:
        return ingestor.index_waiting(on_progress)
