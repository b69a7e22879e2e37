"""Token states of a collection on the disk, so that a training reads them instead of encoding."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from service.durable import new_folder
from service.protocols import TokenEncoder

_AT_ONCE = 64
"""Texts that are encoded between two writes."""


@dataclass(frozen=True, slots=True)
class TrainingStates:
    """States of some texts, memory-mapped.

    `states` float16 (tokens, layers x hidden), each layer's of unit length; text i has the rows
    `offsets[i]:offsets[i + 1]`. `ids` int32 (tokens,). `pooled` float32 (texts, hidden), unit rows.
    """

    states: NDArray[np.float16]
    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pooled: NDArray[np.float32]
    layers: int

    def __len__(self) -> int:
        return len(self.pooled)

    def text(self, index: int) -> tuple[Tensor, Tensor]:
        """States float32 (tokens, layers x hidden) and ids int64 (tokens,) of one text."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        states = torch.from_numpy(np.asarray(self.states[rows], np.float32))
        per_layer = states.view(len(states), self.layers, -1)
        return normalize(per_layer, dim=-1).flatten(1), torch.from_numpy(self.ids[rows]).long()


def store_states(
    folder: Path, texts: Sequence[str], encoder: TokenEncoder, *, window: int, layers: Sequence[int]
) -> TrainingStates:
    """Encode texts (with their prefix) into a folder, unless they are there already.

    The folder takes its name when it is whole; what a kill left is made again.
    """
    if not folder.exists():
        with new_folder(folder) as unfinished:
            _write(unfinished, texts, encoder, window, layers)
    return _read(folder, len(layers))


def _write(
    folder: Path, texts: Sequence[str], encoder: TokenEncoder, window: int, layers: Sequence[int]
) -> None:
    ids: list[NDArray[np.int32]] = []
    pooled, width = [], 0
    with (folder / "states.f16").open("wb") as file:
        for start in range(0, len(texts), _AT_ONCE):
            for seen in encoder.states(texts[start : start + _AT_ONCE], window, layers):
                file.write(seen.states.astype(np.float16).tobytes())
                width = seen.states.shape[1]
                ids.append(seen.ids)
                pooled.append(seen.pooled)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in ids])]).astype(np.int64)
    np.savez(
        folder / "index.npz", ids=np.concatenate(ids), pooled=np.stack(pooled), offsets=offsets
    )
    (folder / "shape.json").write_text(json.dumps([int(offsets[-1]), width]), encoding="utf-8")


def _read(folder: Path, layers: int) -> TrainingStates:
    tokens, width = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
    states = np.memmap(folder / "states.f16", np.float16, mode="r", shape=(tokens, width))
    with np.load(folder / "index.npz") as index:
        return TrainingStates(states, index["ids"], index["offsets"], index["pooled"], layers)
