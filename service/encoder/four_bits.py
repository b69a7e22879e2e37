"""Weights in 4 bits: blocks along each row, one float16 scale a block.

Level k of 0 to 15 means (k - 7.5) * scale, so the levels lie evenly about zero. Two levels
share a byte, the first in the low half.
"""

import torch
from torch import Tensor

_LEVELS = 16
_MIDDLE = (_LEVELS - 1) / 2
# Of a block's largest weight: clipping it makes the steps finer for all the others.
_CLIPS = tuple(0.60 + 0.025 * step for step in range(17))


def pack(weights: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Float weights (rows, columns) -> levels uint8 (rows, columns / 2), scales float16.

    Each block's scale, shape (rows, columns / block), is the one of a few that leaves the least
    squared error. Raises `ValueError` where `block` is odd or does not divide the columns.
    """
    rows, columns = weights.shape
    if block < 2 or block % 2 or columns % block:
        raise ValueError(f"rows of {columns} weights do not divide into blocks of {block}")
    blocks = weights.detach().float().cpu().reshape(rows, -1, block)
    largest = blocks.abs().amax(-1)
    best = torch.full_like(largest, torch.inf)
    scales = torch.zeros_like(largest, dtype=torch.float16)
    for clip in _CLIPS:
        tried = (largest * clip / _MIDDLE).half()
        error = (_levels(blocks, tried) - _MIDDLE).mul_(tried.float()[..., None]).sub_(blocks)
        squared = error.square_().sum(-1)
        better = squared < best
        best[better], scales[better] = squared[better], tried[better]
    levels = _levels(blocks, scales).to(torch.uint8).reshape(rows, columns)
    return levels[:, 0::2] | levels[:, 1::2] << 4, scales


def unpack(levels: Tensor, scales: Tensor) -> Tensor:
    """What `pack` made -> float32 weights (rows, columns).

    Raises `ValueError` where the shapes do not fit each other.
    """
    rows, half = levels.shape
    if scales.ndim != 2 or len(scales) != rows or not scales.shape[1] or 2 * half % scales.shape[1]:
        raise ValueError(f"scales {tuple(scales.shape)} do not fit levels {tuple(levels.shape)}")
    weights = torch.empty((rows, 2 * half), dtype=torch.float32)
    weights[:, 0::2] = (levels & 0x0F).float()
    weights[:, 1::2] = (levels >> 4).float()
    weights -= _MIDDLE
    blocks = weights.view(rows, scales.shape[1], -1)
    blocks *= scales.float()[..., None]
    return weights


def _levels(blocks: Tensor, scales: Tensor) -> Tensor:
    steps = scales.float().clamp_min(torch.finfo(torch.float16).tiny)[..., None]
    return (blocks / steps + _MIDDLE).round_().clamp_(0, _LEVELS - 1)
