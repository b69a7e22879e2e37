"""Writing into a collection without a server: ingest and reindex."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.engine.build import build_encoder, build_state_reranker, index_identity
from service.engine.opening import build_index, settings_of
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
    """Write into a collection, named by itself or by an alias; builds its index at the end.

    The collection's own settings hold. `chunked` is as for `Ingestor`. With `start_over`, documents
    that another encoder encoded wait to be encoded again. Raises `NotFoundError`, and otherwise
    `IndexMismatchError` where the vectors are another encoder's.
    """
    name = folder.catalog.resolve(collection)
    settings = settings_of(folder.catalog.collections[name].settings, settings)
    opened = folder.collection(name)
    encoder = build_encoder(settings)
    identity = index_identity(settings, encoder.identity)
    with opened.store.view() as view:
        stored = view.identity
    if start_over and stored != identity:
        opened.store.start_over(identity)
    opened.store.set_identity(identity)
    # Token states that come with the vectors; those that would take a pass are left to the server.
    reranker = build_state_reranker(settings, encoder)
    states = open_states(settings, opened, reranker, encoder.identity)
    try:
        ingestor = Ingestor(
            opened.store,
            encoder,
            overlap=settings.passage_overlap,
            chunked=chunked,
            states=states,
        )
        yield ingestor
        while ingestor.index_staged():
            pass
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

    Interrupted, it goes on where it stopped when it is run again, or when the folder is served:
    searches then see the documents that are done. Raises `NotFoundError`.
    """
    done = 0
    with ingesting(folder, settings, collection=collection, start_over=True) as ingestor:
        while documents := ingestor.index_staged():
            done += documents
            on_progress(done)
    return done
