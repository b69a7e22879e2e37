"""How transformers run: in batches bounded by tokens, with linear layers that are fast on a CPU."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_SAME = {torch.float32: 1e-3, torch.bfloat16: 0.05}
"""How much two ways to the same products may differ, as a share of a probe's greatest number."""


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of `lengths` in batches, longest texts first, each index once.

    A batch of n texts whose longest has m tokens costs n * m tokens, padding counted. That stays
    within `budget`; a text longer than the budget is a batch of its own. With the longest first,
    too small a memory fails at once and not at the end.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class _PackedLinear(nn.Module):
    """A linear layer in oneDNN's own layout of the weights, with a GELU after it if asked for.

    torch's own fp32 product goes through MKL, which on some CPUs reaches half of what they can.
    """

    def __init__(self, layer: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        # A copy: one that is still mapped would keep its file's other weights in memory.
        self._bias = None if layer.bias is None else layer.bias.detach().clone()
        self._after: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    def forward(self, states: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, *self._after
        )
        return packed


Probe = Callable[[], NDArray[np.float32]]
"""Something that a model computes, to compare before and after a change of its parts."""

Part = tuple[nn.Module, str, nn.Module]
"""A module, the name of one of its parts, and what is to take the part's place."""


def pack_linear_layers(model: nn.Module, probe: Probe) -> None:
    """Put the model's linear layers into the layout that oneDNN multiplies fastest, in place.

    As `replace_parts`: where this build of torch has no such layout, or the model reads its layers
    in a way of its own, nothing changes.
    """
    replace_parts(model, _packed(model), probe)


def replace_parts(model: nn.Module, parts: Iterable[Part], probe: Probe) -> None:
    """Replace parts of a model by others that compute the same but for the last bits.

    Where one cannot be made, or `probe` gives anything else afterwards, nothing changes.
    """
    before = probe()
    same = _SAME.get(next(model.parameters()).dtype, 0.0) * max(1.0, float(np.abs(before).max()))
    changed: list[Part] = []
    try:
        for module, name, new in parts:
            changed.append((module, name, getattr(module, name)))
            setattr(module, name, new)
        if np.abs(probe() - before).max() <= same:
            return
    # What a model lacks, or takes otherwise; and operators of torch that no build promises.
    except (RuntimeError, AttributeError, TypeError, ValueError):
        pass
    for module, name, old in reversed(changed):
        setattr(module, name, old)


def _packed(model: nn.Module) -> Iterator[Part]:
    """What takes the place of which part: (its parent, its name there, the new part)."""
    # A model of the library has imported it by now; at the top it would cost every start.
    from transformers.activations import GELUActivation  # noqa: PLC0415

    for module in list(model.modules()):
        dense, after = (getattr(module, name, None) for name in ("dense", "intermediate_act_fn"))
        if type(dense) is nn.Linear and type(after) is GELUActivation:
            yield module, "dense", _PackedLinear(dense, gelu=True)
            yield module, "intermediate_act_fn", nn.Identity()
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is nn.Linear:
                yield module, name, _PackedLinear(layer)
