"""Encode every document anew with another model, prefix or window."""

from collections.abc import Callable

from service.index.data_folder import DataFolder
from service.pipeline.build import build_encoder
from service.pipeline.ingest import Ingestor
from service.pipeline.opening import build_index
from service.settings import Settings


def reindex(settings: Settings, on_progress: Callable[[int], None] = lambda _n: None) -> int:
    """Encode what the settings' encoder has not encoded yet; returns how many documents.

    Interrupted, it goes on where it stopped when it is run again, or when the folder is served:
    searches then see the documents that are done. Raises as `open_engine` does.
    """
    with DataFolder.open(settings.data_dir) as folder:
        encoder = build_encoder(settings)
        if folder.store.identity() != encoder.identity:
            folder.store.start_over(encoder.identity)
        ingestor = Ingestor(folder.store, encoder, overlap=settings.passage_overlap)
        done = 0
        while documents := ingestor.index_staged():
            done += documents
            on_progress(done)
        build_index(settings, folder.main, encoder, complete=True)
    return done
