"""An embedding in the 4 bits that its rows were decoded from.

The default encoder's weights come in Q4_0 (`service.models.q4`): blocks of 32 weights, each a level
of 0 to 15, less 8, times the block's float16 scale. Its folder holds them as float32, eight times
as large, and the rows of its 250,000 pieces are most of it. Kept as levels and scales they take up
54 MB instead of 384, and each row that is asked for is the same to the bit.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from service.errors import ModelSourceError
from service.models.prepared import Recipe, prepared_folder, sound_folder

log = logging.getLogger(__name__)

BLOCK = 32
_HALF = BLOCK // 2
_MIDDLE = 8.0
_ROWS_AT_ONCE = 512

_FILE = "packed.safetensors"
_VERSION = 1
"""Rises when the file would become another than before."""


class PackedRows:
    """Gives the rows of an embedding that is only read."""

    def __init__(self, levels: Tensor, scales: Tensor) -> None:
        """Levels uint8 (rows, columns / 2), two in a byte; scales float16 (rows, columns / 32)."""
        self._levels, self._scales = levels, scales

    def __call__(self, ids: Tensor) -> Tensor:
        """Ids (...) -> rows, float32 (..., columns)."""
        pairs = self._levels[ids].view(*ids.shape, -1, _HALF)
        weights = torch.cat([pairs & 0x0F, pairs >> 4], dim=-1).float()
        weights -= _MIDDLE
        weights *= self._scales[ids].float()[..., None]
        return weights.flatten(-2)


def packed_folder(cache_dir: Path, weights_sha256: str) -> Path:
    """Where the packed rows of these weights are kept."""
    return cache_dir / "models" / f"packed-{weights_sha256[:16]}"


def packed_rows(weights: Path, name: str, kept: Path | None = None) -> PackedRows | None:
    """The rows of one matrix of a safetensors file; None where it cannot be packed.

    It can where each row of the file is exactly what 4 bits hold, as they were not trained since.
    The rows are not mapped: all would stay in memory. `kept` is a folder for what was packed, which
    only belongs to these weights: it is read if it is there and undamaged, and else written.
    """
    start, shape = _place(weights, name)
    if not shape[1] or shape[1] % BLOCK:
        return None
    key = f"version {_VERSION}, {name}, {shape[0]} x {shape[1]}"
    if kept and sound_folder(kept, key):
        # Mapped: rows are in memory once they are asked for.
        found = load_file(kept / _FILE)
        return PackedRows(found["levels"], found["scales"])
    levels = np.empty((shape[0], shape[1] // 2), np.uint8)
    scales = np.empty((shape[0], shape[1] // BLOCK), np.float16)
    done = 0
    for rows in _rows(weights, start, shape):
        packed = pack_rows(rows)
        if packed is None:
            return None
        levels[done : done + len(rows)], scales[done : done + len(rows)] = packed
        done += len(rows)
    if kept:
        _write(kept, key, {"levels": levels, "scales": scales})
    return PackedRows(torch.from_numpy(levels), torch.from_numpy(scales))


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


def _write(kept: Path, key: str, tensors: dict[str, NDArray[Any]]) -> None:
    recipe = Recipe(key, lambda folder: save_file(tensors, folder / _FILE))
    try:
        prepared_folder(kept.parent, kept.name, recipe)
    except ModelSourceError as error:
        log.warning("the packed word embeddings are not kept: %s", error)


def _place(path: Path, name: str) -> tuple[int, tuple[int, int]]:
    """Where a float32 matrix of a safetensors file begins, and its shape; (0, 0) for any other."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(length))[name]
    rows, columns = about["shape"]
    shape = (rows, columns) if about["dtype"] == "F32" else (0, 0)
    return 8 + length + int(about["data_offsets"][0]), shape


def _rows(path: Path, start: int, shape: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    rows, columns = shape
    with path.open("rb") as file:
        file.seek(start)
        for row in range(0, rows, _ROWS_AT_ONCE):
            part = np.fromfile(file, "<f4", min(_ROWS_AT_ONCE, rows - row) * columns)
            yield part.astype(np.float32, copy=False).reshape(-1, columns)
