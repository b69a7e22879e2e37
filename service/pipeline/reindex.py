"""Encode every document anew with another model, prefix or window."""

from collections.abc import Callable

from service.index.data_folder import DataFolder
from service.pipeline.build import build_encoder, build_index
from service.pipeline.ingest import Ingestor
from service.settings import Settings

BATCH_DOCUMENTS = 256


def reindex(settings: Settings, on_progress: Callable[[int], None] = lambda _n: None) -> int:
    """Encode what the settings' encoder has not encoded yet; returns how many documents.

    Interrupted, it goes on where it stopped when it is run again; until it has ended, the folder
    is not served. Raises as `open_engine` does.
    """
    with DataFolder.open(settings.data_dir) as folder:
        encoder = build_encoder(settings)
        if folder.store.identity() != encoder.identity:
            folder.store.start_over(encoder.identity)
        ingestor = Ingestor(folder.store, encoder, overlap=settings.passage_overlap)
        done = 0
        while documents := folder.store.documents_to_encode(BATCH_DOCUMENTS):
            ingestor.ingest(documents)
            done += len(documents)
            on_progress(done)
        build_index(settings, folder, encoder)
    return done
