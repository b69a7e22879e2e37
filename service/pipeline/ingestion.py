"""An ingest without a server: a collection opened for writing."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Ingestion:
    """An open data folder with what ingest needs."""

    folder: DataFolder
    ingestor: Ingestor


@contextmanager
def open_ingestion(
    settings: Settings, *, chunked: bool = True, collection: str = MAIN
) -> Iterator[Ingestion]:
    """Open a collection for writing; builds its index at the end.

    `chunked` is as for `Ingestor`.

    Raises `IndexMismatchError` where the folder's vectors are another model's.
    """
    with DataFolder.open(settings.data_dir) as folder:
        name = folder.catalog.resolve(collection)
        settings = settings_of(folder.catalog.collections[name], settings)
        opened = folder.collection(name)
        encoder = build_encoder(settings)
        opened.store.set_identity(index_identity(settings, encoder.identity))
        with keeping_states(settings, opened, encoder) as keeping:
            ingestor = Ingestor(
                opened.store, keeping, overlap=settings.passage_overlap, chunked=chunked
            )
            yield Ingestion(folder, ingestor)
            while ingestor.index_staged():
                pass
        build_index(settings, opened, encoder, complete=True)


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
