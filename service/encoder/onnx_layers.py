"""An encoder's layers in ONNX Runtime, and the files that they need.

Each text is a call of its own, so its states do not depend on its company. Needs the extra
`secondpass[onnx]`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from service.encoder.bert_folder import Bert, read_bert
from service.encoder.onnx_graph import STATES, output_of, write_graph
from service.encoder.side_by_side import Embeddings
from service.errors import InferenceError, ModelSourceError
from service.models.onnx_files import Precision, onnx_file, onnx_session, require_onnx, saturates
from service.models.sources import PreparedModel
from service.types import EncoderBackend

ONNX: Mapping[EncoderBackend, Precision] = {"onnx": "fp32", "onnx-int8": "int8"}

_VERSION = 1
"""Rises when the files would become others than before."""


class OnnxLayers:
    """Takes and gives what `SideBySide` does. Any thread may call it."""

    def __init__(self, bert: Bert, file: Path) -> None:
        """Open what `layers_file` made of these weights. Raises `ModelSourceError`."""
        self._embed, self._last = Embeddings(bert), bert.layers
        self._session = onnx_session(file, torch.get_num_threads())

    def __call__(self, rows: Sequence[Sequence[int]], layers: Sequence[int] = ()) -> list[Tensor]:
        """As `SideBySide`. Raises `InferenceError`."""
        seen = [self._states(row, (self._last, *layers)) for row in rows]
        return [torch.cat(states) for states in zip(*seen, strict=True)]

    def _states(self, row: Sequence[int], layers: Sequence[int]) -> list[Tensor]:
        embedded = self._embed([row])
        asked = [layer for layer in dict.fromkeys(layers) if layer > 0]
        try:
            found = self._session.run([output_of(n) for n in asked], {STATES: embedded.numpy()})
        except Exception as error:  # the library raises whatever its parts raise
            raise InferenceError(f"ONNX Runtime failed: {type(error).__name__}: {error}") from error
        states = {0: embedded} | dict(zip(asked, map(torch.from_numpy, found), strict=True))
        return [states[layer] for layer in layers]


def layers_file(
    model: PreparedModel, backend: EncoderBackend, cache_dir: Path, *, make: bool = True
) -> Path:
    """The file of a backend of `ONNX` for this model, made unless it is there and undamaged.

    Raises `ModuleNotFoundError` where a package is missing, and `ModelSourceError` where it cannot
    be made, or may not be: without `make` nothing is written.
    """
    require_onnx()
    bits = None if backend == "onnx" else 7 if saturates() else 8
    kind = f"layers-{ONNX[backend]}{'-narrow' if bits == 7 else ''}"

    def write(file: Path) -> None:
        bert = read_bert(model.folder)
        if bert is None:
            raise ModelSourceError(f"{backend} cannot run {model.name}: it has other layers")
        try:
            write_graph(bert, file, bits=bits)
        except OSError:
            raise
        except Exception as error:  # the library raises whatever its parts raise
            raise ModelSourceError(
                f"{backend} cannot run {model.name}: {type(error).__name__}: {error}"
            ) from error

    return onnx_file(cache_dir, model.weights_sha256, kind, _VERSION, write if make else None)
