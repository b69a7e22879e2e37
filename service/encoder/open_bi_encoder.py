"""Bi-encoders as the settings want them."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.encoder.bi_encoder import BiEncoder, load_model
from service.encoder.measuring import with_backends
from service.encoder.packed_rows import packed_folder
from service.encoder.transformer import Transformer
from service.errors import ModelSourceError
from service.models.opening import Opening
from service.models.sources import PreparedModel, check_dimensions
from service.settings import Settings
from service.types import EncoderIdentity

if TYPE_CHECKING:
    from service.encoder.bi_encoder import LoadedModel

log = logging.getLogger(__name__)


def identity(opening: Opening) -> EncoderIdentity:
    """Everything that decides the vectors; loads no weights."""
    settings, model = opening.settings, opening.prepare()
    dimensions = settings.embedding_dimensions
    check_dimensions(model, dimensions)
    if model.dimension is None:
        raise ModelSourceError(f"{model.name} does not say how many dimensions it has")
    return EncoderIdentity(
        model=model.name,
        weights_sha256=model.weights_sha256,
        dimension=dimensions or model.dimension,
        query_prefix=model.query_prefix,
        passage_prefix=model.passage_prefix,
        max_length=min(settings.passage_tokens, model.max_length),
        normalizer_version=opening.normalizer_version,
    )


def open_encoder(opening: Opening) -> BiEncoder:
    """Load the weights, or share those in memory. Raises `ModelSourceError`."""
    settings, model = opening.settings, opening.prepare()
    if model.prefixes_from == "unknown" and model.name != settings.pair_model:
        log.warning(
            "no prefixes are known for %s: texts are encoded without any; if it was trained with "
            "prefixes, set query_prefix and passage_prefix",
            model.name,
        )
    return BiEncoder.over(
        _weights(opening),
        identity(opening),
        dimensions=settings.embedding_dimensions,
        query_tokens=model.max_length,
    )


def open_token_encoder(opening: Opening, layers: Sequence[int]) -> Transformer:
    """The transformer with at least these layers. Raises `ModelSourceError`."""
    settings, model = opening.settings, opening.prepare()
    loaded = _weights(opening)
    if not isinstance(loaded, Transformer):
        loaded = with_backends(
            settings,
            model,
            lambda backends: Transformer.load(
                model.folder,
                batch_tokens=settings.batch_tokens,
                device=settings.device,
                backends=backends,
                kept=packed_folder(settings.cache_dir, model.weights_sha256),
            ),
        )
    loaded.require_layers(layers)
    return loaded


def _weights(opening: Opening) -> "LoadedModel":
    model = opening.prepare()
    return opening.shared.get(model.weights_sha256, lambda: load_weights(opening.settings, model))


def load_weights(settings: Settings, model: PreparedModel) -> "LoadedModel":
    """Load a bi-encoder's weights for the device, threads and backends of the settings."""
    return with_backends(
        settings,
        model,
        lambda backends: load_model(
            model.folder,
            model.name,
            settings.batch_tokens,
            settings.device,
            settings.threads,
            backends,
            packed_folder(settings.cache_dir, model.weights_sha256),
        ),
    )
