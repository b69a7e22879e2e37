"""Which backends run an encoder here: what was measured on this machine."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import process_time
from typing import Literal, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from service.backend_record import Record, machine, warn_of_torch
from service.encoder.onnx_layers import ONNX, layers_file
from service.encoder.packed_rows import packed_folder
from service.encoder.plain_folder import plain_pooling
from service.encoder.transformer import Transformer
from service.encoder.transformer_backends import PLAIN, Backends
from service.errors import ModelSourceError, StoreError
from service.extras import install_command
from service.models.onnx_files import onnx_is_installed
from service.models.sources import PreparedModel
from service.probe_texts import PROBES
from service.settings import Settings
from service.types import EncoderBackend, Vectors

T = TypeVar("T")

log = logging.getLogger(__name__)

LEAST_COSINE = 0.999
"""Of each built-in text's vector with that of float32."""

_WINDOW = 256
_ROUNDS = 3
"""Each backend is timed at most so often, in turn, after a round that warms up."""
_CLEAR = 1.5
"""No further round is needed where the others are slower by this."""
_HOPELESS = 5.0
"""A backend this many times slower than float32 is not measured further."""

_QUERIES = [query for query, _passages in PROBES]
_WAITING = (_QUERIES * 8)[:8]
"""Queries that wait for each other on a busy server: one pass."""
_PASSAGES = PROBES[0][1][::2]
_TIMED = _PASSAGES[::3]

_Named = Literal["auto", EncoderBackend]


class MeasuredEncoder(BaseModel):
    """Processor time on the built-in texts: a query alone, one among others, passages in a row.

    `close` says whether the least cosine with float32 is at least `LEAST_COSINE`.
    """

    model_config = ConfigDict(frozen=True)

    query_ms: float
    busy_query_ms: float
    passages_per_second: float
    least_cosine: float
    close: bool


class EncoderRecord(Record):
    """What was measured for one encoder, and the best backends among those that are close."""

    least_cosine: float
    measured: dict[EncoderBackend, MeasuredEncoder]
    chosen: Backends


def with_backends(settings: Settings, model: PreparedModel, load: Callable[[Backends], T]) -> T:
    """Load a model with `chosen_backends`; what `auto` chose and cannot run is left to `torch`."""
    backends = chosen_backends(settings, model)
    try:
        return load(backends)
    except ModelSourceError as error:
        plain = _backends(settings, model, PLAIN)
        if plain == backends:
            raise
        spared = [name for name in backends.names if name not in plain.names]
        warn_of_torch(" and ".join(spared), model.name, error)
        return load(plain)


def chosen_backends(settings: Settings, model: PreparedModel) -> Backends:
    """Those that the settings name, and else what was measured here, which may be done now."""
    if not _on_cpu(settings):
        return PLAIN
    record = None
    if "auto" in _named(settings) and _has_choice(settings, model):
        record = EncoderRecord.read(settings.cache_dir, model.weights_sha256, settings.threads)
        record = record or measured_backends(settings, model)
    return _backends(settings, model, record.chosen if record else PLAIN)


def _named(settings: Settings) -> tuple[_Named, _Named]:
    return settings.encoder_query_backend, settings.encoder_passage_backend


def _backends(settings: Settings, model: PreparedModel, best: Backends) -> Backends:
    """Those that are named, the best ones for `auto`, and the files of ONNX Runtime."""
    queries, passages = _named(settings)
    chosen = Backends(
        _usable(settings, model, queries, best.queries),
        _usable(settings, model, passages, best.passages),
    )
    return _with_files(settings, model, chosen)


def _usable(
    settings: Settings, model: PreparedModel, named: _Named, best: EncoderBackend
) -> EncoderBackend:
    """What is named, and else the best one; `torch` where its file is missing or damaged."""
    if named != "auto":
        return named
    try:
        if best in ONNX:
            layers_file(model, best, settings.cache_dir, make=False)
    except (ModelSourceError, ModuleNotFoundError) as error:
        warn_of_torch(best, model.name, error)
        return "torch"
    return best


def _with_files(settings: Settings, model: PreparedModel, backends: Backends) -> Backends:
    """The same with the files of ONNX Runtime, which may be made now. Raises `ModelSourceError`."""
    names = [name for name in backends.names if name in ONNX]
    if not names or not _has_choice(settings, model):
        return backends
    try:
        files = tuple((name, layers_file(model, name, settings.cache_dir)) for name in names)
    except ModuleNotFoundError as error:
        raise ModelSourceError(f"{error}: {install_command('onnx')}") from error
    return backends._replace(onnx_files=files)


def measured_backends(settings: Settings, model: PreparedModel) -> EncoderRecord | None:
    """Measure and record the backends of a prepared encoder; None where there is no choice.

    Takes about four seconds on an idle machine.
    """
    if not _has_choice(settings, model):
        return None
    if settings.threads:
        torch.set_num_threads(settings.threads)
    transformers: dict[EncoderBackend, Transformer] = {}
    for pair in (Backends("torch", "torch-bf16"), Backends("onnx", "onnx-int8")):
        if pair.queries == "torch" or onnx_is_installed():
            with suppress(ModelSourceError):
                both = _load(settings, model, _with_files(settings, model, pair))
                transformers |= {pair.queries: both.queries, pair.passages: both}
    if "torch" not in transformers:
        transformers["torch"] = _load(settings, model, PLAIN)
    record = measure_encoder(transformers, model.name, model.weights_sha256)
    try:
        record.write(settings.cache_dir)
    except StoreError as error:
        log.warning("what was measured is not kept: %s", error)
    return record


def _has_choice(settings: Settings, model: PreparedModel) -> bool:
    return _on_cpu(settings) and plain_pooling(model.folder) is not None


def _on_cpu(settings: Settings) -> bool:
    return settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available())


def _load(settings: Settings, model: PreparedModel, backends: Backends) -> Transformer:
    return Transformer.load(
        model.folder,
        batch_tokens=settings.batch_tokens,
        device="cpu",
        pooling=plain_pooling(model.folder) or "mean",
        backends=backends,
        kept=packed_folder(settings.cache_dir, model.weights_sha256),
    )


def measure_encoder(
    transformers: Mapping[EncoderBackend, Transformer], model: str, weights_sha256: str
) -> EncoderRecord:
    """Encode the built-in texts with each backend, in turn, and choose; `torch` is among them."""
    queries = _seconds(transformers, _encode_query)
    # Without the instructions for it, bfloat16 may take a hundred times as long.
    usable = {
        name: one
        for name, one in transformers.items()
        if queries[name] <= _HOPELESS * queries["torch"]
    }
    busy = _seconds(usable, lambda one, _at: one.encode(_WAITING, _WINDOW))
    passages = _seconds(usable, lambda one, _at: one.encode(_TIMED, _WINDOW))
    vectors = {name: _vectors(one) for name, one in usable.items()}
    measured: dict[EncoderBackend, MeasuredEncoder] = {}
    for name in usable:
        cosine = float((vectors[name] * vectors["torch"]).sum(axis=1).min())
        measured[name] = MeasuredEncoder(
            query_ms=round(1000 * queries[name], 2),
            busy_query_ms=round(1000 * busy[name] / len(_WAITING), 2),
            passages_per_second=round(len(_TIMED) / passages[name], 1),
            least_cosine=round(cosine, 6),
            close=name == "torch" or cosine >= LEAST_COSINE,
        )
    close = [name for name, row in measured.items() if row.close]
    return EncoderRecord(
        model=model,
        weights_sha256=weights_sha256,
        **machine(),
        least_cosine=LEAST_COSINE,
        measured=measured,
        chosen=Backends(
            min(close, key=lambda name: measured[name].query_ms + measured[name].busy_query_ms),
            max(close, key=lambda name: measured[name].passages_per_second),
        ),
    )


def _encode_query(transformer: Transformer, at: int) -> Vectors:
    return transformer.encode([_QUERIES[at % len(_QUERIES)]], _WINDOW)


def _vectors(transformer: Transformer) -> Vectors:
    vectors = transformer.encode([*_QUERIES, *_PASSAGES], _WINDOW)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _seconds(
    transformers: Mapping[EncoderBackend, Transformer],
    encode: Callable[[Transformer, int], object],
) -> dict[EncoderBackend, float]:
    """Processor time of all threads in the fastest round of each: other work changes it little."""
    times: dict[EncoderBackend, list[float]] = {name: [] for name in transformers}
    for at in range(_ROUNDS + 1):
        for name, transformer in transformers.items():
            began = process_time()
            encode(transformer, at)
            if at:
                times[name].append(process_time() - began)
        best = sorted(min(own) for own in times.values() if own)
        if at and all(one >= _CLEAR * best[0] for one in best[1:]):
            break
    return {name: min(own) for name, own in times.items()}
