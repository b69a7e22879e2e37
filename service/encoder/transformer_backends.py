"""What runs an encoder's transformer: one backend for queries, and one for passages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from service.encoder.bert_folder import read_bert
from service.encoder.onnx_layers import OnnxLayers
from service.encoder.side_by_side import SideBySide
from service.errors import InferenceError, ModelSourceError
from service.types import EncoderBackend

_DTYPES: Mapping[EncoderBackend, torch.dtype] = {
    "torch": torch.float32,
    "torch-bf16": torch.bfloat16,
}


class Backends(NamedTuple):
    """For queries the fastest one, alone and busy; for passages the one that does most a second."""

    queries: EncoderBackend
    passages: EncoderBackend
    onnx_files: tuple[tuple[EncoderBackend, Path], ...] = ()

    @property
    def names(self) -> list[EncoderBackend]:
        """Each backend once."""
        return list(dict.fromkeys((self.queries, self.passages)))


PLAIN = Backends("torch", "torch")


class Run(Protocol):
    """A pass: pieces of texts, longest first -> states of all their tokens, side by side."""

    def __call__(self, rows: Sequence[Sequence[int]], layers: Sequence[int] = ()) -> list[Tensor]:
        """float32 (tokens, hidden): the last layer's, then those of each of `layers`."""
        ...


class Opened(NamedTuple):
    """A pass for each backend, and the model's sizes; `longest` is the most tokens it reads."""

    runs: Mapping[EncoderBackend, Run]
    hidden: int
    layers: int
    longest: int


def open_backends(
    folder: Path, device: str, backends: Backends, longest: int, kept: Path | None = None
) -> Opened:
    """A folder's transformer, which reads at most `longest` tokens.

    float32 falls back to the library's own model, everywhere but on a CPU, and for a make of its
    own. Raises `ModelSourceError` for another backend that cannot run the model. `kept` is as for
    `packed_rows`.
    """
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    on_cpu = torch.device(chosen).type == "cpu"
    if on_cpu and (opened := _side_by_side(folder, backends, longest, kept)):
        return opened
    if on_cpu and backends != PLAIN:
        raise ModelSourceError(f"{' and '.join(backends.names)} cannot run {folder} on this CPU")
    # Not before it is needed: to import the library takes seconds and 150 MB.
    from service.encoder.library_model import load_model, padded  # noqa: PLC0415

    model = load_model(folder, torch.device(chosen))
    config: Any = model.config
    longest = min(longest, config.max_position_embeddings)
    runs = dict.fromkeys(backends.names, padded(model, longest))  # nothing was measured elsewhere
    return Opened(runs, int(config.hidden_size), int(config.num_hidden_layers), longest)


def _side_by_side(
    folder: Path, backends: Backends, longest: int, kept: Path | None
) -> Opened | None:
    try:
        bert = read_bert(folder, kept)
        if bert is None:
            return None
        files = dict(backends.onnx_files)
        runs: dict[EncoderBackend, Run] = {
            name: OnnxLayers(bert, files[name])
            if name in files
            else SideBySide(bert, _DTYPES[name])
            for name in backends.names
        }
        with torch.inference_mode():
            for run in runs.values():
                run([[0]])
    # Another CPU, operators of torch that no build promises, or weights that do not fit.
    except (OSError, RuntimeError, AttributeError, TypeError, ValueError, SafetensorError):
        return None
    except InferenceError as error:
        raise ModelSourceError(f"{folder} cannot be run: {error}") from error
    return Opened(runs, bert.hidden, bert.layers, min(longest, bert.positions))
