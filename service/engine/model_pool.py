"""Loaded models, each shared by all collections that use it."""

import threading
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from service.encoder.bi_encoder import BiEncoder
from service.engine.build import (
    build_encoder,
    build_pair_model,
    build_reranker,
    encoder_identity,
    load_weights,
)
from service.memory import give_back_freed_memory
from service.models.sources import PreparedModel
from service.protocols import Reranker
from service.search.pair_model import PairModel
from service.settings import NO_MODEL, Settings
from service.types import EncoderIdentity

if TYPE_CHECKING:
    from service.encoder.bi_encoder import LoadedModel


class ModelPool:
    """The models that collections use; an unused one is freed. Safe to use from several threads.

    A bi-encoder's weights are in memory once, even if collections differ in window, prefixes and
    dimensions, and whether they encode with it, rerank with its states or compare queries.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._weights: WeakValueDictionary[str, LoadedModel] = WeakValueDictionary()
        self._twins: WeakValueDictionary[tuple[str, str], LoadedModel] = WeakValueDictionary()
        self._encoders: WeakValueDictionary[EncoderIdentity, BiEncoder] = WeakValueDictionary()
        self._rerankers: WeakValueDictionary[tuple[str, int], Reranker] = WeakValueDictionary()

    def identity(self, settings: Settings) -> EncoderIdentity:
        """Everything that decides the vectors of the settings' encoder; loads no weights."""
        return encoder_identity(settings)

    def encoder(self, settings: Settings) -> BiEncoder:
        """The encoder that the settings name."""
        with self._lock:
            identity = self.identity(settings)
            encoder = self._encoders.get(identity)
            if encoder is None:
                encoder = build_encoder(settings, partial(self._loaded, settings))
                self._encoders[identity] = encoder
            return encoder

    def twin(self, encoder: BiEncoder, of: str) -> BiEncoder:
        """An encoder that works beside `encoder`, shared by all collections for one kind of work.

        It may need a tokenizer of its own, which takes up to a hundred megabytes and a second.
        """
        with self._lock:
            key = (encoder.identity.weights_sha256, of)
            model = self._twins.get(key)
            if model is None:
                model = self._twins[key] = encoder.twin_model()
            return encoder.twin(model)

    def reranker(self, settings: Settings, encoder: BiEncoder) -> Reranker | None:
        """The reranker that the settings name; it may share an encoder's weights.

        Its scores do not depend on the encoder, so all collections share it.
        """
        if settings.reranker == NO_MODEL:
            return None
        key = (settings.reranker, settings.rerank_max_length)
        with self._lock:
            reranker = self._rerankers.get(key)
            if reranker is None:
                reranker = build_reranker(settings, encoder, partial(self._loaded, settings))
                give_back_freed_memory()
                if reranker is not None:
                    self._rerankers[key] = reranker
            return reranker

    def pair_model(self, settings: Settings, encoder: BiEncoder) -> PairModel | None:
        """As `build_pair_model`."""
        with self._lock:
            return build_pair_model(settings, encoder, partial(self._loaded, settings))

    def _loaded(self, settings: Settings, model: PreparedModel) -> "LoadedModel":
        loaded = self._weights.get(model.weights_sha256)
        if loaded is None:
            loaded = self._weights[model.weights_sha256] = load_weights(settings, model)
            give_back_freed_memory()
        return loaded
