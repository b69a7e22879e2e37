"""What runs an encoder's transformer: one backend for queries, and one for passages."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.encoder.padded import Padded
from service.encoder.side_by_side import SideBySide
from service.errors import ModelSourceError
from service.forward_pass import pack_linear_layers
from service.types import EncoderBackend

_DTYPES: Mapping[EncoderBackend, torch.dtype] = {
    "torch": torch.float32,
    "torch-bf16": torch.bfloat16,
}

_PROBE = tuple(range(5, 24))
"""Pieces that every vocabulary has."""

_SAME = 1e-3
"""How much two ways to the same float32 states may differ, as a share of the greatest number."""


class Backends(NamedTuple):
    """For queries the fastest one alone, for passages the one that does most in a second."""

    queries: EncoderBackend
    passages: EncoderBackend


PLAIN = Backends("torch", "torch")


class Run(Protocol):
    """A pass: pieces of texts, longest first -> states of all their tokens, side by side."""

    def __call__(self, rows: Sequence[Sequence[int]], layers: Sequence[int] = ()) -> list[Tensor]:
        """float32 (tokens, hidden): the last layer's, then those of each of `layers`."""
        ...


def open_backends(model: nn.Module, longest: int, backends: Backends) -> dict[EncoderBackend, Run]:
    """A pass for each backend that is named. `model` has no other use afterwards.

    float32 falls back to the model's own layers, everywhere but on a CPU, and for a make of its
    own. Raises `ModelSourceError` for another backend that cannot run the model.
    """
    padded = Padded(model, longest)
    if next(model.parameters()).device.type != "cpu":
        return dict.fromkeys(backends, padded)  # where nothing was measured
    runs: dict[EncoderBackend, Run] = {}
    for backend in dict.fromkeys(backends):
        run = _side_by_side(model, backend, padded)
        if run is None and backend != "torch":
            raise ModelSourceError(f"{backend} cannot run {type(model).__name__} on this CPU")
        runs[backend] = run or padded
    if padded in runs.values():
        pack_linear_layers(model, lambda: _probed(padded))
    else:
        model.encoder = nn.Module()  # its weights are copied
    return runs


def _side_by_side(model: nn.Module, backend: EncoderBackend, exact: Run) -> SideBySide | None:
    try:
        run = SideBySide(model, _DTYPES[backend])
        found, expected = _probed(run), _probed(exact)
    except (RuntimeError, AttributeError, TypeError, ValueError):
        return None  # other layers, or operators of torch that no build promises
    worst = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
    limit = _SAME if backend == "torch" else 100 * _SAME
    return run if worst <= limit else None


def _probed(run: Run) -> NDArray[np.float32]:
    with torch.inference_mode():
        found: NDArray[np.float32] = run([_PROBE])[0].numpy()
    return found
