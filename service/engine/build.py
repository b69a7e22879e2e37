"""Models as the settings name them: the only module that chooses encoders and rerankers."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, NamedTuple

from service.confidence.calibration import (
    Calibration,
    load_calibration,
    shipped_calibrations,
)
from service.confidence.judge import Judge, Thresholds
from service.encoder.bi_encoder import BiEncoder, load_model
from service.encoder.transformer import Transformer
from service.errors import InvalidInputError, ModelError, ModelSourceError
from service.models.pair_threshold import PAIR_THRESHOLD_FILE, read_pair_threshold
from service.models.registry import Kind
from service.models.sources import PreparedModel, check_dimensions, prepare, reranker_kind
from service.protocols import Encoder, Reranker
from service.reranker.interaction import read_config
from service.reranker.interaction_reranker import InteractionReranker
from service.scheduling.gate import Limits
from service.search.answer_cache import AnswerCache
from service.search.pair_model import PairModel
from service.search.retriever import Retriever
from service.search.second_stage import SLOW_RERANKS
from service.settings import DECIDING, Settings
from service.text.chunker import CHUNKER_VERSION
from service.text.normalizer import NORMALIZER_VERSION
from service.text.passage import PASSAGE_TEXT_VERSION
from service.types import EncoderIdentity, IndexIdentity
from service.words import WORDS_VERSION

if TYPE_CHECKING:
    from service.encoder.bi_encoder import LoadedModel
    from service.reranker.backends import BackendRecord

log = logging.getLogger(__name__)

NO_MODEL = "none"


Load = Callable[[PreparedModel], "LoadedModel"]
"""Gives a bi-encoder's weights: loads them, or has them in memory."""


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
    return BiEncoder.over(
        load(model) if load else load_weights(settings, model),
        identity,
        dimensions=dimensions,
        query_tokens=model.max_length,
    )


def load_weights(settings: Settings, model: PreparedModel) -> "LoadedModel":
    """Those of a bi-encoder, as the settings say."""
    return load_model(
        model.folder, model.name, settings.batch_tokens, settings.device, settings.threads
    )


def _prepare_encoder(settings: Settings) -> PreparedModel:
    return prepare(
        settings.encoder,
        "bi-encoder",
        cache_dir=settings.cache_dir,
        offline=settings.hub_offline,
        query_prefix=settings.query_prefix,
        passage_prefix=settings.passage_prefix,
    )


def encoder_identity(settings: Settings) -> EncoderIdentity:
    """All that decides the vectors of the encoder that the settings name; loads no weights."""
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
    """All that decides what an index of these settings stores of a document."""
    return IndexIdentity(
        **{field.name: getattr(encoder, field.name) for field in fields(EncoderIdentity)},
        chunker_version=CHUNKER_VERSION,
        passage_text_version=PASSAGE_TEXT_VERSION,
        words_version=WORDS_VERSION,
        passage_overlap=settings.passage_overlap,
    )


def index_digest(settings: Settings) -> str:
    """A short name, in hexadecimal, for `index_identity`; loads no weights."""
    identity = index_identity(settings, encoder_identity(settings))
    stated = json.dumps(asdict(identity), sort_keys=True)
    return hashlib.sha256(stated.encode()).hexdigest()


class RerankerKind(NamedTuple):
    """How a reranker of one kind is opened, and the extra of secondpass that it needs, if any."""

    open: "Callable[[Settings, BiEncoder | None, Load | None], Reranker]"
    extra: str | None = None


def build_reranker(
    settings: Settings, encoder: BiEncoder | None = None, load: Load | None = None
) -> Reranker | None:
    """Prepare and load the reranker, or None where the settings say `none`.

    An interaction reranker shares the transformer of `encoder` where that is its base, else the one
    that `load` gives.
    """
    if settings.reranker == NO_MODEL:
        return None
    kind = RERANKERS[reranker_kind(settings.reranker)]
    try:
        return kind.open(settings, encoder, load)
    except ModuleNotFoundError as error:
        if kind.extra is None:
            raise
        raise ModelSourceError(
            f"{settings.reranker} needs {error.name}: pip install 'secondpass[{kind.extra}]'"
        ) from error


def build_state_reranker(settings: Settings, encoder: Encoder) -> Reranker | None:
    """The reranker, where the token states that it reads are this encoder's.

    None otherwise, where the settings want no states, and where it cannot be loaded.
    """
    if not settings.passage_states or settings.reranker == NO_MODEL:
        return None
    if reranker_kind(settings.reranker) != "interaction" or not isinstance(encoder, BiEncoder):
        return None
    try:
        base = read_config(_prepare_reranker(settings, "interaction").folder).base_weights_sha256
        if base != encoder.identity.weights_sha256:
            return None
        reranker = _interaction(settings, encoder)
    except ModelError as error:
        log.warning("token states are left to the server: %s", error)
        return None
    return reranker if reranker.layers(encoder.identity) else None


def _cross_encoder(
    settings: Settings, _encoder: BiEncoder | None = None, _load: Load | None = None
) -> Reranker:
    model = _prepare_reranker(settings, "cross-encoder")
    # Not before it is needed, as below: to import its library takes a hundred megabytes.
    from service.reranker.kinds import open_cross_encoder  # noqa: PLC0415

    return open_cross_encoder(settings, model)


def _interaction(
    settings: Settings, encoder: BiEncoder | None = None, load: Load | None = None
) -> Reranker:
    model = _prepare_reranker(settings, "interaction")
    config = read_config(model.folder)
    base = prepare(
        config.base, "bi-encoder", cache_dir=settings.cache_dir, offline=settings.hub_offline
    )
    if base.weights_sha256 != config.base_weights_sha256:
        raise ModelSourceError(f"{model.name} was trained on another {config.base} than this one")
    shared = encoder is not None and encoder.identity.weights_sha256 == base.weights_sha256
    states = encoder.transformer if encoder and shared else None
    if states is None and load and isinstance(loaded := load(base), Transformer):
        states = loaded
    if states is None:
        states = Transformer.load(
            base.folder, batch_tokens=settings.batch_tokens, device=settings.device
        )
    states.require_layers(config.layers)
    return InteractionReranker(
        model.folder,
        base.folder,
        states,
        model=model.name,
        weights_sha256=model.weights_sha256,
        cache_bytes=settings.rerank_cache_mb * 1_000_000,
        # Logits of states with more bits are other ones, of the same weights.
        variant=f"window {settings.rerank_max_length}, eight bits",
    )


def _prepare_reranker(settings: Settings, kind: Kind) -> PreparedModel:
    return prepare(
        settings.reranker, kind, cache_dir=settings.cache_dir, offline=settings.hub_offline
    )


RERANKERS: Mapping[str, RerankerKind] = {
    "cross-encoder": RerankerKind(_cross_encoder),
    "interaction": RerankerKind(_interaction),
}
"""By what `reranker_kind` says of a name."""


def measure_backends(settings: Settings, name: str) -> "BackendRecord":
    """Time the backends of a cross-encoder here, record which is best, and give the record."""
    model = prepare(
        name, "cross-encoder", cache_dir=settings.cache_dir, offline=settings.hub_offline
    )
    from service.reranker.kinds import measure_cross_encoder  # noqa: PLC0415

    return measure_cross_encoder(settings, model)


def build_pair_model(
    settings: Settings, encoder: BiEncoder | None = None, load: Load | None = None
) -> PairModel | None:
    """The model that tells whether two queries mean the same; None where the settings say `none`.

    `encoder` serves as the pair model too where it is the same one. Raises `InvalidInputError`
    where neither the settings nor the model's folder state a threshold.
    """
    if settings.pair_model == NO_MODEL:
        if settings.answer_cache:
            raise InvalidInputError("answer_cache needs a pair_model", "answer_cache")
        return None
    model = prepare(
        settings.pair_model,
        "bi-encoder",
        cache_dir=settings.cache_dir,
        offline=settings.hub_offline,
    )
    threshold = settings.pair_threshold
    if threshold is None and (learned := read_pair_threshold(model.folder)):
        threshold = learned.threshold
    if threshold is None:
        raise InvalidInputError(
            f"no pair threshold is known for {settings.pair_model}: it has no "
            f"{PAIR_THRESHOLD_FILE}; set pair_threshold, or train a pair model",
            "pair_threshold",
        )
    if encoder is None or encoder.identity != _identity(settings, model):
        encoder = _encoder(settings, model, load)
    return PairModel(encoder, threshold, limits(settings))


def build_answer_cache(
    settings: Settings, pair_model: PairModel | None, retriever: Retriever
) -> AnswerCache | None:
    """The cache over this index, or None where the settings want none."""
    if pair_model is None or not settings.answer_cache:
        return None
    decided = settings.model_dump_json(include=set(DECIDING))
    return AnswerCache(
        pair_model,
        size=settings.answer_cache,
        ttl_s=settings.answer_cache_ttl_s,
        version=lambda: f"{retriever.version} {decided}",
    )


def limits(settings: Settings) -> Limits:
    """What one request, and all together, may take up."""
    return Limits(settings.max_query_chars, settings.max_queue, settings.timeout_ms)


def most_reranks(settings: Settings, reranker: Reranker | None, *, states_kept: bool) -> int:
    """How many searches may be at the rerank or wait for it."""
    if settings.max_reranks is not None:
        return settings.max_reranks
    quick = states_kept and reranker is not None and reranker.reads == "states"
    return settings.max_queue if quick else SLOW_RERANKS


def build_judge(settings: Settings, encoder: Encoder, reranker: Reranker | None) -> Judge:
    """The calibration that fits the loaded models: the operator's, or a shipped one."""
    weights = reranker.weights_sha256 if reranker else None
    if settings.calibration is not None:
        artifact: Calibration | None = load_calibration(settings.calibration)
    else:
        artifact = _shipped(encoder.identity, weights)
    return Judge(
        encoder=encoder.identity,
        reranker_weights_sha256=weights,
        artifact=artifact,
        thresholds=Thresholds.of(artifact, settings.confidence_high, settings.confidence_medium),
        weight_override=settings.rerank_weight,
        rerank_depth=settings.rerank_depth,
    )


def _shipped(encoder: EncoderIdentity, reranker_weights: str | None) -> Calibration | None:
    """The artifact for both models, or one whose cosine curve at least fits the encoder."""
    fitting = [a for a in shipped_calibrations() if a.fits_encoder(encoder)]
    both = [a for a in fitting if a.fits_reranker(reranker_weights)]
    return next(iter(both or fitting), None)
