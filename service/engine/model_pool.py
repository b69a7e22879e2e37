"""Loaded models, each shared by all collections that use it."""

from service.engine.build import (
    build_encoder,
    build_pair_model,
    build_reranker,
    build_state_reranker,
    encoder_identity,
)
from service.models.opening import Shared
from service.protocols import Encoder, Reranker
from service.search.pair_model import PairModel
from service.settings import Settings
from service.types import EncoderIdentity


class ModelPool:
    """The models that collections use; an unused one is freed. Safe to use from several threads.

    Weights are in memory once, even if collections differ in window, prefixes and dimensions, and
    whether they encode with them, rerank with token states or compare queries.
    """

    def __init__(self) -> None:
        self._shared = Shared()

    def identity(self, settings: Settings) -> EncoderIdentity:
        """As `encoder_identity`."""
        return encoder_identity(settings)

    def encoder(self, settings: Settings) -> Encoder:
        """As `build_encoder`."""
        return build_encoder(settings, self._shared)

    def reranker(self, settings: Settings) -> Reranker | None:
        """As `build_reranker`."""
        return build_reranker(settings, self._shared)

    def state_reranker(self, settings: Settings, encoder: Encoder) -> Reranker | None:
        """As `build_state_reranker`."""
        return build_state_reranker(settings, encoder, self._shared)

    def pair_model(self, settings: Settings) -> PairModel | None:
        """As `build_pair_model`."""
        return build_pair_model(settings, self.encoder)
