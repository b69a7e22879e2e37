"""A transformer's linear layers, laid out as a CPU multiplies them fastest."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

_SAME = 0.05
"""Of a probe's value, by how much two ways to the same bfloat16 product may differ."""


class _PackedLinear(nn.Module):
    """A linear layer in oneDNN's own layout of the weights, with a GELU after it if asked for.

    torch's own fp32 product goes through MKL, which on some CPUs reaches half of what they can.
    """

    def __init__(self, layer: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = None if layer.bias is None else layer.bias.detach()
        self._after: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    def forward(self, states: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, *self._after
        )
        return packed


def pack_linear_layers(model: nn.Module, probe: Callable[[], float]) -> None:
    """Put the model's linear layers into the layout that oneDNN multiplies fastest, in place.

    The model computes the same but for the last bits; `probe`, a logit of the model, is asked
    before and after. Where this build of torch has no such layout, or the model reads its layers in
    a way of its own, nothing changes.
    """
    before = probe()
    changed: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for module, name, layer in _packed(model):
            changed.append((module, name, getattr(module, name)))
            setattr(module, name, layer)
        if abs(probe() - before) <= _SAME * max(1.0, abs(before)):
            return
    # The operators are torch's way to compiled models and no promise of any build.
    except (RuntimeError, AttributeError, TypeError):
        pass
    for module, name, layer in reversed(changed):
        setattr(module, name, layer)


def _packed(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """What takes the place of which part: (its parent, its name there, the new part)."""
    for module in list(model.modules()):
        dense, after = (getattr(module, name, None) for name in ("dense", "intermediate_act_fn"))
        if type(dense) is nn.Linear and type(after) is GELUActivation:
            yield module, "dense", _PackedLinear(dense, gelu=True)
            yield module, "intermediate_act_fn", nn.Identity()
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is nn.Linear:
                yield module, name, _PackedLinear(layer)
