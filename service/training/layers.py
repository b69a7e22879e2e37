"""A transformer with fewer of its layers, ready for a head."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from service.errors import InvalidInputError, ModelSourceError

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
