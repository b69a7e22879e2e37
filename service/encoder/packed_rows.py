"""An embedding in the 4 bits that its rows were decoded from.

The default encoder's weights come in Q4_0 (`service.models.q4`): blocks of 32 weights, each a level
of 0 to 15, less 8, times the block's float16 scale. Its folder holds them as float32, eight times
as large, and the rows of its 250,000 pieces are most of it. Kept as levels and scales they take up
54 MB instead of 384, and each row that is asked for is the same to the bit.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BLOCK = 32
_HALF = BLOCK // 2
_MIDDLE = 8.0
_WEIGHTS = "model.safetensors"
_ROWS_AT_ONCE = 512


class PackedRows(nn.Module):
    """Takes the place of an `nn.Embedding` that is only read."""

    def __init__(self, levels: Tensor, scales: Tensor) -> None:
        """Levels uint8 (rows, columns / 2), two in a byte; scales float16 (rows, columns / 32)."""
        super().__init__()
        self._levels, self._scales = levels, scales

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (...) -> rows, float32 (..., columns)."""
        pairs = self._levels[ids].view(*ids.shape, -1, _HALF)
        weights = torch.cat([pairs & 0x0F, pairs >> 4], dim=-1).float()
        weights -= _MIDDLE
        weights *= self._scales[ids].float()[..., None]
        return weights.flatten(-2)


def pack_embedding(embeddings: nn.Module, name: str, folder: Path) -> bool:
    """Put a `PackedRows` in place of `embeddings.<name>`, loaded from `folder`; False if it cannot.

    It can where each row of the file is exactly what 4 bits hold, as they were not trained since.
    The rows are read from the file, not through the module: mapped, all would stay in memory.
    """
    module: Any = getattr(embeddings, name)
    shape = tuple(module.weight.shape)
    start = _place(folder / _WEIGHTS, f".{name}.weight", shape)
    if start is None or shape[1] % BLOCK:
        return False
    levels = np.empty((shape[0], shape[1] // 2), np.uint8)
    scales = np.empty((shape[0], shape[1] // BLOCK), np.float16)
    done = 0
    for rows in _rows(folder / _WEIGHTS, start, shape):
        packed = pack_rows(rows)
        if packed is None:
            return False
        levels[done : done + len(rows)], scales[done : done + len(rows)] = packed
        done += len(rows)
    setattr(embeddings, name, PackedRows(torch.from_numpy(levels), torch.from_numpy(scales)))
    return True


def pack_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]] | None:
    """Levels and scales of float32 (n, columns), as `PackedRows` takes them; None where they lose.

    Q4_0 gives a block's weight of greatest size the level 0, so that shows the scale.
    """
    blocks = rows.reshape(-1, BLOCK)
    least, most = blocks.min(axis=1), blocks.max(axis=1)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        exact = np.where(most > -least, most, least) / np.float32(-_MIDDLE)
        scales = np.abs(exact, out=exact, where=exact == 0.0).astype(np.float16)
        steps = scales.astype(np.float32)[:, None]
        levels = np.divide(blocks, steps)
        np.rint(levels, out=levels).clip(-_MIDDLE, _MIDDLE - 1, out=levels)
        # Of zeros alone only the sign is to be found again.
        zeros = np.flatnonzero(steps == 0.0)
        levels[zeros] = np.where(np.signbit(blocks[zeros]), np.float32(-1.0), np.float32(0.0))
        same = (levels * steps).view(np.int32) == blocks.view(np.int32)
    if not same.all():
        return None
    levels += np.float32(_MIDDLE)
    whole = levels.astype(np.uint8)
    pairs = whole[:, :_HALF] | whole[:, _HALF:] << np.uint8(4)
    return pairs.reshape(len(rows), -1), scales.reshape(len(rows), -1)


def _place(path: Path, ending: str, shape: tuple[int, ...]) -> int | None:
    """Where in a safetensors file the one float32 matrix begins that ends so and has this shape."""
    if not path.is_file() or len(shape) != 2:
        return None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    found = [
        about["data_offsets"][0]
        for name, about in header.items()
        if f".{name}".endswith(ending) and (about["dtype"], tuple(about["shape"])) == ("F32", shape)
    ]
    return 8 + length + int(found[0]) if len(found) == 1 else None


def _rows(path: Path, start: int, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    rows, columns = shape
    with path.open("rb") as file:
        file.seek(start)
        for row in range(0, rows, _ROWS_AT_ONCE):
            part = np.fromfile(file, "<f4", min(_ROWS_AT_ONCE, rows - row) * columns)
            yield part.astype(np.float32, copy=False).reshape(-1, columns)
