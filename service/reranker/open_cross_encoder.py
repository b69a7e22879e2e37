"""Cross-encoders as the settings want them: which backend, and its files."""

from sentence_transformers.util import get_device_name

from service.backend_record import warn_of_torch
from service.errors import ModelError
from service.models.onnx_files import onnx_is_installed
from service.models.opening import Opening
from service.models.sources import PreparedModel
from service.reranker.backend_choice import (
    BACKENDS,
    REFERENCE,
    BackendRecord,
    measure,
    recorded_backend,
)
from service.reranker.cross_encoder import CrossEncoderOptions, CrossEncoderReranker
from service.reranker.onnx_forward import prepare_onnx
from service.settings import Settings
from service.types import Backend


def open_reranker(opening: Opening) -> CrossEncoderReranker:
    """As `open_cross_encoder`."""
    return open_cross_encoder(opening.settings, opening.prepare())


def open_cross_encoder(settings: Settings, model: PreparedModel) -> CrossEncoderReranker:
    """Load a prepared cross-encoder with the backend that the settings name, or the recorded one.

    Raises `ModelSourceError` when it cannot be loaded, and when a backend that the settings name
    cannot run it, or `ModuleNotFoundError` for want of a package; a recorded one that cannot leaves
    it to torch. What `models prepare` exported is read, and made here only for a backend that is
    named.
    """
    if settings.rerank_backend != "auto":
        return _open(settings, model, settings.rerank_backend)
    backend = _recorded(settings, model)
    if backend != REFERENCE:
        try:
            reranker = _open(settings, model, backend, export=False)
            reranker.score_pairs([("ready", "ready")])  # a session may open and yet not run
        except (ModelError, ModuleNotFoundError) as error:
            warn_of_torch(backend, model.name, error)
        else:
            return reranker
    return _open(settings, model, REFERENCE)


def measure_cross_encoder(settings: Settings, model: PreparedModel) -> BackendRecord:
    """Time the backends on this CPU and record which is best.

    That is what `rerank_backend: auto` takes from then on. Without the packages of the `onnx`
    backends only the others are compared.
    """
    plain = settings.model_copy(
        update={"device": "cpu", "rerank_score_cache": 0, "rerank_window": 0}
    )
    usable = [b for b in BACKENDS if onnx_is_installed() or not b.startswith("onnx")]
    record = measure({backend: _open(plain, model, backend) for backend in usable})
    record.write(settings.cache_dir)
    return record


def _recorded(settings: Settings, model: PreparedModel) -> Backend:
    device = get_device_name() if settings.device == "auto" else settings.device
    # The record is of the CPU. Elsewhere float32 has no other that was measured.
    if device != "cpu":
        return REFERENCE
    return recorded_backend(settings.cache_dir, model.weights_sha256, settings.threads)


def _open(
    settings: Settings, model: PreparedModel, backend: Backend, *, export: bool = True
) -> CrossEncoderReranker:
    onnx_file = None
    if backend in {"onnx", "onnx-int8"}:
        onnx_file = prepare_onnx(
            model.folder,
            model.name,
            model.weights_sha256,
            cache_dir=settings.cache_dir,
            precision="int8" if backend == "onnx-int8" else "fp32",
            export=export,
        )
    return CrossEncoderReranker(
        model.folder,
        model=model.name,
        weights_sha256=model.weights_sha256,
        max_length=min(settings.rerank_max_length, model.max_length),
        batch_tokens=settings.batch_tokens,
        device=settings.device,
        threads=settings.threads,
        options=CrossEncoderOptions(
            backend=backend,
            onnx_file=onnx_file,
            cache_bytes=settings.rerank_cache_mb * 1_000_000,
            score_cache=settings.rerank_score_cache,
            passage_window=settings.rerank_window,
            variant=_variant(settings, backend),
        ),
    )


def _variant(settings: Settings, backend: Backend) -> str:
    """What decides a logit beside the weights; fp32 is the same wherever it runs.

    A backend that `auto` takes was measured to be close to fp32, so it shares fp32's calibration.
    """
    variant = f"window {settings.rerank_max_length}"
    if settings.rerank_backend == backend and backend in {"torch-bf16", "onnx-int8"}:
        variant += f", {backend}"
    if settings.rerank_window:
        variant += f", best {settings.rerank_window}"
    return variant
