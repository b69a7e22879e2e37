"""A transformer of any make and any tokenizer, loaded and run by the library transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

import service.encoder.moe  # noqa: F401 - makes its architectures known to transformers
from service.encoder.padded import Padded
from service.errors import ModelSourceError
from service.forward_pass import pack_linear_layers

_PROBED = 19


def load_model(folder: Path, device: torch.device) -> nn.Module:
    """In float32. Raises `ModelSourceError`."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: nn.Module = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(f"{folder} cannot be loaded: {error}") from error
    return model.eval().to(device)


def padded(model: nn.Module, longest: int) -> Padded:
    """A pass of the model, on a CPU with faster linear layers. `model` has no other use then."""
    run = Padded(model, longest)
    if next(model.parameters()).device.type == "cpu":
        config: Any = model.config
        probe = [number % config.vocab_size for number in range(min(_PROBED, longest))]

        def probed() -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = run([probe])[0].numpy()
            return found

        pack_linear_layers(model, probed)
    return run


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """With the special pieces that the folder's other files name, and the window stated for it."""
    try:
        found: Any = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        tokenizer: Tokenizer = found.backend_tokenizer
        tokenizer.get_vocab_size()
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(f"{folder} has no readable tokenizer: {error}") from error
    return tokenizer, int(found.model_max_length)
