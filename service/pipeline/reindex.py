"""Encode every document anew with another model, prefix or window."""

from collections.abc import Callable

from service.index.catalog import MAIN
from service.index.data_folder import DataFolder
from service.pipeline.build import build_encoder, index_identity
from service.pipeline.ingest import Ingestor
from service.pipeline.ingestion import keeping_states
from service.pipeline.opening import build_index, settings_of
from service.settings import Settings


def reindex(
    settings: Settings,
    on_progress: Callable[[int], None] = lambda _n: None,
    *,
    collection: str = MAIN,
) -> int:
    """Encode what the settings' encoder has not encoded yet; returns how many documents.

    What the collection, named by itself or by an alias, has of settings of its own holds.
    Interrupted, it goes on where it stopped when it is run again, or when the folder is served:
    searches then see the documents that are done. Raises as `open_engine` does, and
    `NotFoundError`.
    """
    with DataFolder.open(settings.data_dir) as folder:
        name = folder.catalog.resolve(collection)
        settings = settings_of(folder.catalog.collections[name], settings)
        opened = folder.collection(name)
        encoder = build_encoder(settings)
        identity = index_identity(settings, encoder.identity)
        if opened.store.identity() != identity:
            opened.store.start_over(identity)
        done = 0
        with keeping_states(settings, opened, encoder) as keeping:
            ingestor = Ingestor(opened.store, keeping, overlap=settings.passage_overlap)
            while documents := ingestor.index_staged():
                done += documents
                on_progress(done)
        build_index(settings, opened, encoder, complete=True)
    return done
