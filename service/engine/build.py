"""Builds the models that the settings name; no other module chooses encoders and rerankers."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from service.errors import InvalidInputError, ModelError, ModelSourceError
from service.extras import install_command
from service.models.model_kinds import KINDS, stated_base
from service.models.opening import Opening, Shared
from service.models.pair_threshold import PAIR_THRESHOLD_FILE, read_pair_threshold
from service.models.sources import PreparedModel, kind_named, prepare
from service.protocols import Encoder, Reranker, TokenEncoder
from service.scheduling.gate import Limits
from service.search.pair_model import PairModel
from service.settings import NO_MODEL, Settings, settings_about
from service.text.chunker import CHUNKER_VERSION
from service.text.normalizer import NORMALIZER_VERSION
from service.text.passage import PASSAGE_TEXT_VERSION
from service.types import EncoderIdentity, IndexIdentity
from service.words import WORDS_VERSION

if TYPE_CHECKING:
    from service.encoder.measuring import EncoderRecord
    from service.reranker.backend_choice import BackendRecord

log = logging.getLogger(__name__)


def build_encoder(settings: Settings, shared: Shared | None = None) -> Encoder:
    """Open the encoder that the settings name, or return the one in `shared`."""
    opening = _encoder_opening(settings, shared)
    with _opener(opening.name, "encoder") as opener:
        found: Encoder = opening.shared.get(
            opener.identity(opening), partial(opener.open_encoder, opening)
        )
    return found


def encoder_identity(settings: Settings) -> EncoderIdentity:
    """Everything that decides the vectors of the settings' encoder; loads no weights."""
    opening = _encoder_opening(settings)
    with _opener(opening.name, "encoder") as opener:
        found: EncoderIdentity = opener.identity(opening)
    return found


@contextmanager
def _opener(name: str, stage: str) -> Iterator[Any]:
    """The module that opens the model of this name; a missing extra is an error that names it."""
    kind = KINDS[kind_named(name, stage)]
    try:
        # Imported only when needed: a kind's libraries may take a hundred megabytes.
        yield import_module(kind.opener)
    except ModuleNotFoundError as error:
        if kind.extra is None:
            raise
        raise ModelSourceError(f"{name}: {error}: {install_command(kind.extra)}") from error


def _encoder_opening(settings: Settings, shared: Shared | None = None) -> Opening:
    prefixes = settings.query_prefix, settings.passage_prefix
    return _opening(settings, settings.encoder, "encoder", shared, *prefixes)


def _opening(
    settings: Settings,
    name: str,
    stage: str,
    shared: Shared | None,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
) -> Opening:
    shared = shared or Shared()
    prepared = partial(
        prepare,
        name,
        kind_named(name, stage),
        cache_dir=settings.cache_dir,
        offline=settings.hub_offline,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
    )
    base = partial(_base, settings, shared)
    return Opening(name, settings, cache(prepared), shared, NORMALIZER_VERSION, base)


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


def build_reranker(settings: Settings, shared: Shared | None = None) -> Reranker | None:
    """Open the reranker, or return the one in `shared`; None if the settings say `none`.

    Its scores do not depend on the encoder. One that reads token states shares its base's weights.
    """
    if settings.reranker == NO_MODEL:
        return None
    opening = _opening(settings, settings.reranker, "reranker", shared)
    with _opener(opening.name, "reranker") as opener:
        found: Reranker = opening.shared.get(
            (settings.reranker, settings.rerank_max_length), partial(opener.open_reranker, opening)
        )
    return found


def build_state_reranker(settings: Settings, encoder: Encoder, shared: Shared) -> Reranker | None:
    """The reranker if it reads token states of this encoder, else None.

    None too if the settings turn states off or the reranker cannot be loaded.
    """
    if not settings.passage_states or settings.reranker == NO_MODEL:
        return None
    if not KINDS[kind_named(settings.reranker, "reranker")].reads_states:
        return None
    try:
        model = _opening(settings, settings.reranker, "reranker", shared).prepare()
        if stated_base(model.folder)[1] != encoder.identity.weights_sha256:
            return None
        reranker = build_reranker(settings, shared)
    except ModelError as error:
        log.warning("token states are left to the server: %s", error)
        return None
    return reranker if reranker and reranker.layers(encoder.identity) else None


def _base(
    settings: Settings, shared: Shared, model: PreparedModel, layers: Sequence[int]
) -> tuple[PreparedModel, TokenEncoder]:
    """As `Opening.base`."""
    name, sha256 = stated_base(model.folder)
    opening = _opening(settings, name, "encoder", shared)
    base = opening.prepare()
    if base.weights_sha256 != sha256:
        raise ModelSourceError(f"{model.name} was trained on another version of {name} than this")
    with _opener(name, "encoder") as opener:
        encoder: TokenEncoder = opener.open_token_encoder(opening, layers)
    return base, encoder


def measure_backends(settings: Settings, name: str) -> "BackendRecord":
    """Time the backends of a cross-encoder on this machine and record which one is best."""
    # Imported only when needed: its library takes a hundred megabytes.
    from service.reranker.open_cross_encoder import measure_cross_encoder  # noqa: PLC0415

    return measure_cross_encoder(settings, _opening(settings, name, "reranker", None).prepare())


def measure_encoder_backends(settings: Settings, name: str) -> "EncoderRecord | None":
    """The same for an encoder; None where there is no choice."""
    from service.encoder.measuring import measured_backends  # noqa: PLC0415

    return measured_backends(settings, _opening(settings, name, "encoder", None).prepare())


def build_pair_model(
    settings: Settings, encoder: Callable[[Settings], Encoder] = build_encoder
) -> PairModel | None:
    """The model that decides whether two queries mean the same; None if the settings say `none`.

    `encoder` opens the encoder that settings name. Raises `InvalidInputError` if neither the
    settings nor the model's folder state a threshold.
    """
    if settings.pair_model == NO_MODEL:
        if settings.answer_cache:
            raise InvalidInputError("answer_cache needs a pair_model", "answer_cache")
        return None
    threshold = settings.pair_threshold
    if threshold is None:
        threshold = _learned_threshold(settings)
    # The prefixes and dimensions that the settings state are the other encoder's.
    own = dict.fromkeys(settings_about("encoder")) | {"encoder": settings.pair_model}
    return PairModel(encoder(settings.model_copy(update=own)), threshold, limits(settings))


def _learned_threshold(settings: Settings) -> float:
    name, learned = settings.pair_model, None
    if not name.startswith(KINDS[kind_named(name, "encoder")].schemes):
        learned = read_pair_threshold(_opening(settings, name, "encoder", None).prepare().folder)
    if learned is None:
        raise InvalidInputError(
            f"no pair threshold for {name}, which has no {PAIR_THRESHOLD_FILE}: set "
            "pair_threshold, or train with the recipe pair-contrastive",
            "pair_threshold",
        )
    return learned.threshold


def limits(settings: Settings) -> Limits:
    """What one request may use, and all requests together."""
    return Limits(settings.max_query_chars, settings.max_queue, settings.timeout_ms)
