"""Writing into a collection without a server: ingest and reindex."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from service.errors import StoreError
from service.index.catalog import MAIN
from service.index.data_folder import CollectionFolder, DataFolder
from service.pipeline.build import build_encoder, build_state_reranker, index_identity
from service.pipeline.ingest import Ingestor
from service.pipeline.opening import build_index, settings_of
from service.pipeline.passage_states import KeepingEncoder, PassageStates, open_states
from service.protocols import Encoder, StateEncoder, StateReranker
from service.settings import Settings
from service.types import Vectors

log = logging.getLogger(__name__)


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
    if start_over and opened.store.identity() != identity:
        opened.store.start_over(identity)
    opened.store.set_identity(identity)
    with keeping_states(settings, opened, encoder) as keeping:
        ingestor = Ingestor(
            opened.store, keeping, overlap=settings.passage_overlap, chunked=chunked
        )
        yield ingestor
        while ingestor.index_staged():
            pass
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


@contextmanager
def keeping_states(
    settings: Settings, folder: CollectionFolder, encoder: StateEncoder
) -> Iterator[Encoder]:
    """The encoder, which keeps token states where they come with the vectors.

    They are no part of an ingest: what goes wrong with them, or would take another pass, is left to
    the server.
    """
    reranker = build_state_reranker(settings, encoder)
    states = open_states(settings, folder, reranker, encoder.identity) if reranker else None
    if reranker is None or states is None:
        yield encoder
        return
    storing = _StoringEncoder(encoder, reranker, states)
    try:
        yield storing
        storing.store()
    finally:
        states.close()


class _StoringEncoder(KeepingEncoder):
    """Before each batch it stores the states of the last one, whose passages are there by then."""

    def __init__(
        self, encoder: StateEncoder, reranker: StateReranker, states: PassageStates
    ) -> None:
        super().__init__(encoder, reranker, states)
        self._works = True

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """As the encoder's own."""
        self.store()
        return super().encode_passages(texts)

    def store(self) -> None:
        """Store what there is; a store that fails is not asked again."""
        try:
            if self._works:
                self._states.keep_offered()
        except StoreError as error:
            self._works = False
            log.warning("token states cannot be kept: %s", error)
