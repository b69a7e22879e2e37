"""Loaded models, each once for all the collections that want it."""

import threading
from weakref import WeakValueDictionary

from service.encoder.bi_encoder import BiEncoder
from service.memory import give_back_freed_memory
from service.pipeline.build import NO_MODEL, build_encoder, build_reranker, encoder_identity
from service.protocols import Reranker
from service.settings import Settings
from service.types import EncoderIdentity


class ModelPool:
    """Models that a collection uses. One that none uses any more is let go.

    Safe to use from several threads; of two that want a model one loads it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoders: WeakValueDictionary[EncoderIdentity, BiEncoder] = WeakValueDictionary()
        self._twins: WeakValueDictionary[tuple[EncoderIdentity, str], BiEncoder] = (
            WeakValueDictionary()
        )
        self._rerankers: WeakValueDictionary[tuple[str, int], Reranker] = WeakValueDictionary()

    def identity(self, settings: Settings) -> EncoderIdentity:
        """All that decides the vectors of the encoder that the settings name; loads nothing."""
        return encoder_identity(settings)

    def encoder(self, settings: Settings) -> BiEncoder:
        """The encoder that the settings name."""
        with self._lock:
            identity = self.identity(settings)
            encoder = self._encoders.get(identity)
            if encoder is None:
                encoder = self._encoders[identity] = build_encoder(settings)
                give_back_freed_memory()
            return encoder

    def twin(self, encoder: BiEncoder, of: str) -> BiEncoder:
        """One that works beside `encoder`, for all the collections' work of one kind.

        Each has a tokenizer of its own, of up to a hundred megabytes and a second to make.
        """
        with self._lock:
            key = (encoder.identity, of)
            twin = self._twins.get(key)
            if twin is None:
                twin = self._twins[key] = encoder.twin()
            return twin

    def reranker(self, settings: Settings, encoder: BiEncoder) -> Reranker | None:
        """The reranker that the settings name; it may share the encoder's weights.

        What it says of a pair does not depend on the encoder, so all collections share it.
        """
        if settings.reranker == NO_MODEL:
            return None
        key = (settings.reranker, settings.rerank_max_length)
        with self._lock:
            reranker = self._rerankers.get(key)
            if reranker is None:
                reranker = build_reranker(settings, encoder)
                give_back_freed_memory()
                if reranker is not None:
                    self._rerankers[key] = reranker
            return reranker
