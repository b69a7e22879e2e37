"""Loading the model that a training starts from, with its layers cut, and saving the result."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import nn

from service.encoder.loading import load_sentence_transformer
from service.errors import InvalidInputError, ModelSourceError
from service.models.folder import max_length, prompts
from service.models.registry import REGISTRY
from service.training.system import Job


def base_prefixes(job: Job) -> tuple[str, str]:
    """Prefixes of queries and passages: the folder's own, else the registry's, else none."""
    own = prompts(job.base)
    spec = REGISTRY.get(job.recipe.base)
    return own if any(own) or spec is None else (spec.query_prefix, spec.passage_prefix)


def load_bi_encoder(job: Job, *, freeze_embeddings: bool = False) -> SentenceTransformer:
    """The base, cut to the recipe's `max_length`, with prompts `query` and `passage`.

    It may be an `SSE` or a mixture of experts. Raises `ModelSourceError` where it cannot be loaded.
    """
    model: SentenceTransformer = _loaded(load_sentence_transformer, job, freeze_embeddings)
    model.prompts = dict(zip(("query", "passage"), base_prefixes(job), strict=True))
    return model


def load_cross_encoder(job: Job, *, freeze_embeddings: bool = False) -> CrossEncoder:
    """The base with one output; where it is a bi-encoder, with a new head, drawn by the seed.

    A cross-encoder keeps its head.
    """
    torch.manual_seed(job.recipe.training.seed)
    only = {"trust_remote_code": False, "local_files_only": True, "num_labels": 1}
    model: CrossEncoder = _loaded(
        lambda base, **settings: CrossEncoder(str(base), **only, **settings), job, freeze_embeddings
    )
    return model


def transformer_of(model: Any, job: Job) -> Any:
    """The transformer in a model. Raises `ModelSourceError` where it has none, as an `SSE`."""
    transformer = model.transformers_model
    if transformer is None:
        raise ModelSourceError(f"{job.recipe.base} is no transformer, which this recipe needs")
    return transformer


def saver(model: Any, job: Job) -> Callable[[Path], None]:
    """Saves with the base's own window: a shorter one is the training's, not the model's."""

    def save(folder: Path) -> None:
        trained_with, model.max_seq_length = model.max_seq_length, max_length(job.base)
        try:
            model.save_pretrained(str(folder), create_model_card=False)
        finally:
            model.max_seq_length = trained_with

    return save


def encode(
    model: SentenceTransformer, texts: Sequence[str], *, batch_size: int = 64
) -> NDArray[np.float32]:
    """Unit vectors (n, dim) of texts that have their prefix, in input order."""
    vectors: NDArray[np.float32] = model.encode(
        list(texts),
        prompt="",
        batch_size=batch_size,
        show_progress_bar=False,
        normalize_embeddings=True,
    )
    return vectors


def _loaded(load: Callable[..., Any], job: Job, freeze_embeddings: bool) -> Any:
    weights = {"dtype": torch.float32, "use_safetensors": True}
    try:
        model = load(job.base, device=job.device, model_kwargs=weights)
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(
            f"{job.recipe.base} cannot be loaded from {job.base}: {error}"
        ) from error
    own, wanted = model.max_seq_length, job.recipe.training.max_length
    model.max_seq_length = min(own, wanted) if own else wanted
    if freeze_embeddings:
        # Of a multilingual model most weights are these; frozen, they cost no optimizer state.
        transformer_of(model, job).get_input_embeddings().weight.requires_grad_(False)
    return model


Layers = Literal["all", "alternate"] | int | tuple[int, ...]
"""`all`; a number: the first ones; `alternate`: every second, from the first; or which ones,
from 0."""


def keep_layers(transformer: Any, layers: Layers) -> None:
    """Take the other layers out of a BERT-like model, in place.

    Which layers a smaller model is best started from: Sajjad et al., "On the Effect of Dropping
    Layers of Pre-trained Transformer Models", 2023. Raises `InvalidInputError` for layers that are
    not there, and `ModelSourceError` for a model that is built otherwise.
    """
    encoder = getattr(transformer.base_model, "encoder", None)
    found = getattr(encoder, "layer", None)
    if encoder is None or not isinstance(found, nn.ModuleList):
        raise ModelSourceError("the base is no BERT-like model, whose layers could be chosen")
    kept = _places(layers, len(found))
    encoder.layer = nn.ModuleList([found[place] for place in kept])
    transformer.config.num_hidden_layers = len(kept)


def revive_pooler(transformer: Any) -> None:
    """Draw a new pooler if it is all zeros, as of a base without one: it would never learn.

    A pooler of zeros gives every text the same vector, and all its rows the same gradient.
    """
    pooler = getattr(transformer.base_model, "pooler", None)
    if pooler is not None and not pooler.dense.weight.any():
        with torch.no_grad():
            pooler.dense.weight.normal_(0.0, transformer.config.initializer_range)


def _places(layers: Layers, count: int) -> Sequence[int]:
    if layers == "all":
        return range(count)
    if layers == "alternate":
        return range(0, count, 2)
    places = range(layers) if isinstance(layers, int) else layers
    if not places or min(places) < 0 or max(places) >= count or len(set(places)) < len(places):
        raise InvalidInputError(
            f"options.layers: {layers} is not among the base's {count} layers", "options.layers"
        )
    return places
