"""A cross-encoder's pass from token ids to logits, in torch."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from service.errors import ModelSourceError
from service.forward_pass import pack_linear_layers, replace_parts, token_batches
from service.reranker.last_layer import first_token_only
from service.reranker.pair_tokens import TokenPair

Logits = NDArray[np.float32]


class Forward(Protocol):
    """Token ids -> logits."""

    def logits(self, pairs: Sequence[TokenPair], /) -> Logits:
        """float32, shape (n,), in input order."""
        ...


class TorchForward:
    """The model's own forward pass.

    On a CPU pairs go through one at a time: there is no padding, the matrices of one pair fill a
    core already, and a pair's score cannot depend on what else is scored. Elsewhere batches of
    pairs of like length hold at most `batch_tokens` tokens, padding counted.
    """

    _PROBE = TokenPair(np.arange(5, 41), np.zeros(36, np.int64), truncated=False)

    def __init__(
        self, model: nn.Module, *, dtype: torch.dtype, batch_tokens: int, takes_types: bool
    ) -> None:
        """Take a sequence classifier of transformers; it is changed, and has no use afterwards."""
        self._model = model.eval().to(dtype)
        self._batch_tokens, self._takes_types = batch_tokens, takes_types
        self._device = next(model.parameters()).device
        if self._device.type == "cpu":
            pack_linear_layers(model, self._probe)
            replace_parts(model, first_token_only(model), self._probe)

    def logits(self, pairs: Sequence[TokenPair], /) -> Logits:
        """float32, shape (n,), in input order."""
        logits = np.empty(len(pairs), np.float32)
        # The weights' own type, whatever a caller's autocast says.
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            if self._device.type == "cpu":
                for place, pair in enumerate(pairs):
                    logits[place] = self._alone(pair)
            else:
                lengths = [len(pair.ids) for pair in pairs]
                for batch in token_batches(lengths, self._batch_tokens):
                    logits[batch] = self._batch([pairs[place] for place in batch])
        return logits

    def _probe(self) -> Logits:
        return self.logits([self._PROBE])

    def _alone(self, pair: TokenPair) -> float:
        return float(self._model(**self._inputs([pair])).logits[0, 0])

    def _batch(self, pairs: Sequence[TokenPair]) -> Logits:
        scores: Logits = self._model(**self._inputs(pairs)).logits[:, 0].float().cpu().numpy()
        return scores

    def _inputs(self, pairs: Sequence[TokenPair]) -> dict[str, Tensor]:
        """What the model takes; a pair alone on a CPU has no padding, and so no mask."""
        if self._device.type == "cpu" and len(pairs) == 1:
            alone = {"input_ids": torch.from_numpy(pairs[0].ids)[None]}
            if self._takes_types:
                alone["token_type_ids"] = torch.from_numpy(pairs[0].types)[None]
            return alone
        longest = max(len(pair.ids) for pair in pairs)
        ids, types, mask = np.zeros((3, len(pairs), longest), np.int64)
        for row, pair in enumerate(pairs):
            count = len(pair.ids)
            ids[row, :count], types[row, :count], mask[row, :count] = pair.ids, pair.types, 1
        # Some models number their positions by what is not padding.
        ids[mask == 0] = getattr(self._model.config, "pad_token_id", None) or 0
        arrays = {"input_ids": ids, "attention_mask": mask}
        if self._takes_types:
            arrays["token_type_ids"] = types
        return {name: torch.from_numpy(a).to(self._device) for name, a in arrays.items()}


@dataclass(frozen=True, slots=True)
class Classifier:
    """A loaded sequence classifier of one output, and what it is given.

    `max_length` is in tokens, None where the model states none.
    """

    network: nn.Module
    tokenizer: Any
    max_length: int | None
    takes_types: bool


def load_classifier(folder: Path, name: str, device: str) -> Classifier:
    """The cross-encoder in `folder`, in float32.

    Raises `ModelSourceError` when it cannot be loaded, or is something else.
    """
    # A server's log is no place for it.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model: CrossEncoder = CrossEncoder(
            str(folder),
            device=None if device == "auto" else device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(f"{name} cannot be loaded from {folder}: {error}") from error
    if model.num_labels != 1:
        raise ModelSourceError(
            f"{name} gives {model.num_labels} scores to a pair; a reranker gives one"
        )
    parts: list[Any] = list(model)
    if len(parts) != 1 or parts[0].transformer_task != "sequence-classification":
        raise ModelSourceError(f"{name} is no sequence classifier, and no other kind is read")
    network: nn.Module = parts[0].model.eval()
    named = {*model.tokenizer.model_input_names} & {*inspect.signature(network.forward).parameters}
    return Classifier(network, model.tokenizer, model.max_seq_length, "token_type_ids" in named)
