"""Builds the models that the settings name; no other module chooses encoders and rerankers."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from service.encoder.bi_encoder import BiEncoder, load_model
from service.encoder.measuring import EncoderRecord, measured_backends, with_backends
from service.encoder.packed_rows import packed_folder
from service.encoder.transformer import Transformer
from service.errors import InvalidInputError, ModelError, ModelSourceError
from service.extras import install_command
from service.models.model_kinds import KINDS, stated_base
from service.models.opening import Opening
from service.models.pair_threshold import PAIR_THRESHOLD_FILE, read_pair_threshold
from service.models.sources import PreparedModel, check_dimensions, kind_named, prepare
from service.protocols import Encoder, Reranker, TokenEncoder
from service.scheduling.gate import Limits
from service.search.pair_model import PairModel
from service.settings import NO_MODEL, Settings
from service.text.chunker import CHUNKER_VERSION
from service.text.normalizer import NORMALIZER_VERSION
from service.text.passage import PASSAGE_TEXT_VERSION
from service.types import EncoderIdentity, IndexIdentity
from service.words import WORDS_VERSION

if TYPE_CHECKING:
    from service.encoder.bi_encoder import LoadedModel
    from service.reranker.backends import BackendRecord

log = logging.getLogger(__name__)

Load = Callable[[PreparedModel], "LoadedModel"]
"""Returns a bi-encoder's weights, from the disk or from memory."""

Base = Callable[[PreparedModel, Sequence[int]], tuple[PreparedModel, TokenEncoder]]


def build_encoder(settings: Settings, load: Load | None = None) -> BiEncoder:
    """Prepare and load the bi-encoder that the settings name."""
    model = _prepare_encoder(settings)
    if model.prefixes_from == "unknown":
        log.warning(
            "no prefixes are known for %s: texts are encoded without any; if it was trained with "
            "prefixes, set query_prefix and passage_prefix",
            settings.encoder,
        )
    return _encoder(settings, model, load, settings.embedding_dimensions)


def _encoder(
    settings: Settings, model: PreparedModel, load: Load | None, dimensions: int | None = None
) -> BiEncoder:
    identity = _identity(settings, model, dimensions)
    loaded = load(model) if load else load_weights(settings, model)
    return BiEncoder.over(loaded, identity, dimensions=dimensions, query_tokens=model.max_length)


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


def _prepare(
    settings: Settings,
    name: str,
    kind: str,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
) -> PreparedModel:
    return prepare(
        name,
        kind,
        cache_dir=settings.cache_dir,
        offline=settings.hub_offline,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
    )


def _prepare_encoder(settings: Settings) -> PreparedModel:
    prefixes = settings.query_prefix, settings.passage_prefix
    return _prepare(settings, settings.encoder, "bi-encoder", *prefixes)


def encoder_identity(settings: Settings) -> EncoderIdentity:
    """Everything that decides the vectors of the settings' encoder; loads no weights."""
    return _identity(settings, _prepare_encoder(settings), settings.embedding_dimensions)


def _identity(
    settings: Settings, model: PreparedModel, dimensions: int | None = None
) -> EncoderIdentity:
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
        normalizer_version=NORMALIZER_VERSION,
    )


def index_identity(settings: Settings, encoder: EncoderIdentity) -> IndexIdentity:
    """Everything that decides what an index stores of a document."""
    return IndexIdentity(
        **{field.name: getattr(encoder, field.name) for field in fields(EncoderIdentity)},
        chunker_version=CHUNKER_VERSION,
        passage_text_version=PASSAGE_TEXT_VERSION,
        words_version=WORDS_VERSION,
        passage_overlap=settings.passage_overlap,
    )


def index_digest(settings: Settings) -> str:
    """The SHA-256 of `index_identity`, in hexadecimal; loads no weights."""
    identity = index_identity(settings, encoder_identity(settings))
    return hashlib.sha256(json.dumps(asdict(identity), sort_keys=True).encode()).hexdigest()


def build_reranker(
    settings: Settings, encoder: BiEncoder | None = None, load: Load | None = None
) -> Reranker | None:
    """Prepare and load the reranker; None if the settings say `none`.

    One that reads token states shares the transformer of `encoder` if that is its base model, else
    the one that `load` returns.
    """
    if settings.reranker == NO_MODEL:
        return None
    return _open_reranker(settings, partial(_base, settings, encoder, load))


def _open_reranker(settings: Settings, base: Base) -> Reranker:
    kind = kind_named(settings.reranker, "reranker")
    extra = KINDS[kind].extra
    try:
        # Imported only when needed: a kind's libraries may take a hundred megabytes.
        opener = import_module(KINDS[kind].opener)
        reranker: Reranker = opener.open_reranker(
            Opening(settings, partial(_prepare, settings, settings.reranker, kind), base)
        )
    except ModuleNotFoundError as error:
        if extra is None:
            raise
        raise ModelSourceError(f"{settings.reranker}: {error}: {install_command(extra)}") from error
    return reranker


def build_state_reranker(settings: Settings, encoder: Encoder) -> Reranker | None:
    """The reranker if it reads token states of this encoder, else None.

    None too if the settings turn states off or the reranker cannot be loaded.
    """
    if not settings.passage_states or settings.reranker == NO_MODEL:
        return None
    kind = kind_named(settings.reranker, "reranker")
    if not KINDS[kind].reads_states or not isinstance(encoder, BiEncoder):
        return None
    try:
        model = _prepare(settings, settings.reranker, kind)
        if stated_base(model.folder)[1] != encoder.identity.weights_sha256:
            return None
        reranker = _open_reranker(settings, partial(_base, settings, encoder, None))
    except ModelError as error:
        log.warning("token states are left to the server: %s", error)
        return None
    return reranker if reranker.layers(encoder.identity) else None


def _base(
    settings: Settings,
    encoder: BiEncoder | None,
    load: Load | None,
    model: PreparedModel,
    layers: Sequence[int],
) -> tuple[PreparedModel, Transformer]:
    """As `Opening.base`."""
    name, sha256 = stated_base(model.folder)
    base = _prepare(settings, name, "bi-encoder")
    if base.weights_sha256 != sha256:
        raise ModelSourceError(f"{model.name} was trained on another version of {name} than this")
    if encoder is not None and encoder.identity.weights_sha256 == base.weights_sha256:
        transformer = encoder.transformer
    else:
        loaded = load(base) if load else None
        transformer = loaded if isinstance(loaded, Transformer) else None
    if transformer is None:
        transformer = with_backends(
            settings,
            base,
            lambda backends: Transformer.load(
                base.folder,
                batch_tokens=settings.batch_tokens,
                device=settings.device,
                backends=backends,
                kept=packed_folder(settings.cache_dir, base.weights_sha256),
            ),
        )
    transformer.require_layers(layers)
    return base, transformer


def measure_backends(settings: Settings, name: str) -> "BackendRecord":
    """Time the backends of a cross-encoder on this machine and record which one is best."""
    model = _prepare(settings, name, "cross-encoder")
    # Imported only when needed: its library takes a hundred megabytes.
    from service.reranker.open_cross_encoder import measure_cross_encoder  # noqa: PLC0415

    return measure_cross_encoder(settings, model)


def measure_encoder_backends(settings: Settings, name: str) -> EncoderRecord | None:
    """The same for an encoder; None where there is no choice."""
    return measured_backends(settings, _prepare(settings, name, "bi-encoder"))


def build_pair_model(
    settings: Settings, encoder: BiEncoder | None = None, load: Load | None = None
) -> PairModel | None:
    """The model that decides whether two queries mean the same; None if the settings say `none`.

    `encoder` is used if it is the same model. Raises `InvalidInputError` if neither the settings
    nor the model's folder state a threshold.
    """
    if settings.pair_model == NO_MODEL:
        if settings.answer_cache:
            raise InvalidInputError("answer_cache needs a pair_model", "answer_cache")
        return None
    model = _prepare(settings, settings.pair_model, "bi-encoder")
    threshold = settings.pair_threshold
    if threshold is None and (learned := read_pair_threshold(model.folder)):
        threshold = learned.threshold
    if threshold is None:
        raise InvalidInputError(
            f"no pair threshold for {settings.pair_model}, which has no {PAIR_THRESHOLD_FILE}: set "
            "pair_threshold, or train with the recipe pair-contrastive",
            "pair_threshold",
        )
    if encoder is None or encoder.identity != _identity(settings, model):
        encoder = _encoder(settings, model, load)
    return PairModel(encoder, threshold, limits(settings))


def limits(settings: Settings) -> Limits:
    """What one request may use, and all requests together."""
    return Limits(settings.max_query_chars, settings.max_queue, settings.timeout_ms)
