"""Token states of a bi-encoder's transformer: what the interaction reranker compares."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from service.batching import token_batches
from service.errors import ModelSourceError
from service.models.folder import max_length


@dataclass(frozen=True, slots=True)
class TokenStates:
    """One text seen through the transformer.

    `ids` int64 (n,): its pieces, special tokens and prefix counted. `states` float32
    (n, layers x hidden): the chosen layers' states side by side, each of unit length. `pooled`
    float32 (hidden,): the bi-encoder's own vector, the mean of the last states, of unit length.
    `truncated`: the text had more pieces than the window.
    """

    ids: Tensor
    states: Tensor
    pooled: Tensor
    truncated: bool


class StateEncoder:
    """Runs texts through a transformer with mean pooling and keeps its token states.

    Texts are batched by length, at most `batch_tokens` tokens a batch, padding counted. Calls from
    several threads wait for each other.
    """

    def __init__(
        self,
        folder: Path,
        *,
        layers: Sequence[int],
        batch_tokens: int,
        device: str = "auto",
        transformer: nn.Module | None = None,
    ) -> None:
        """`layers` are counted from 0, the embeddings, to the last.

        `transformer` is the folder's own where it is in memory already. Raises `ModelSourceError`
        when the folder cannot be loaded, or has no such layer.
        """
        self._layers, self._batch_tokens = tuple(layers), batch_tokens
        self._longest = max_length(folder) or 512
        self._lock = threading.Lock()
        self._tokenizer = _tokenizer(folder)
        self._model = transformer or _transformer(folder, device)
        self._device = next(self._model.parameters()).device
        deepest: int = self._model.config.num_hidden_layers  # type: ignore[union-attr,assignment]
        if not all(0 <= layer <= deepest for layer in self._layers):
            raise ModelSourceError(f"{folder} has the layers 0 to {deepest}, not {self._layers}")

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self._device

    @property
    def hidden(self) -> int:
        """Size of a layer's states."""
        size: int = self._model.config.hidden_size  # type: ignore[union-attr,assignment]
        return size

    def prefix_tokens(self, prefix: str) -> int:
        """Tokens before the text in `prefix + text`: special ones, and the prefix's own."""
        with_prefix, bare = (len(s.ids) for s in self.encode([prefix + "a", "a"], self._longest))
        return with_prefix - bare + 1

    def encode(self, texts: Sequence[str], window: int) -> list[TokenStates]:
        """States of texts that have their prefix, in input order.

        They are cut to `window` tokens, or to the transformer's own maximum if that is less.
        """
        window = min(window, self._longest)
        with self._lock:
            self._tokenizer.no_truncation()
            counts = [len(e.ids) for e in self._tokenizer.encode_batch(list(texts))]
            self._tokenizer.enable_truncation(window)
            ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
            done: dict[int, TokenStates] = {}
            for batch in token_batches([len(i) for i in ids], self._batch_tokens):
                for index, found in zip(batch, self._run([ids[i] for i in batch]), strict=True):
                    done[index] = TokenStates(*found, truncated=counts[index] > window)
        return [done[i] for i in range(len(ids))]

    def _run(self, ids: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor, Tensor]]:
        rows = [torch.tensor(row) for row in ids]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
        lengths = torch.tensor([len(row) for row in ids])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            hidden = self._model(
                input_ids=padded.to(self._device),
                attention_mask=mask.long().to(self._device),
                output_hidden_states=True,
            ).hidden_states
            last = hidden[-1].float().cpu()
            pooled = normalize((last * mask[..., None]).sum(1) / lengths[:, None], dim=-1)
            states = torch.cat([normalize(hidden[i].float(), dim=-1) for i in self._layers], -1)
        states = states.cpu()
        return [
            (row, states[i, : len(row)].clone(), pooled[i].clone()) for i, row in enumerate(rows)
        ]


def piece_information(folder: Path) -> Tensor:
    """How much each piece of the vocabulary tells, float32 (pieces,), natural logarithm.

    A Unigram tokenizer carries each piece's log probability over its training text; its negative
    is Shannon's information content, an inverse frequency for every language at once, with no
    corpus at hand. Special pieces tell nothing. Other tokenizers have no such numbers: all their
    pieces tell alike.
    """
    model, special = _vocabulary(folder)
    pieces = model["vocab"]
    if model.get("type") == "Unigram":
        told = torch.tensor([-float(score) for _piece, score in pieces])
    else:
        told = torch.full((len(pieces),), 10.0)
    told[[i for i in special if i < len(told)]] = 0.0
    return told


def query_information(information: Tensor, ids: Tensor, prefix_tokens: int) -> Tensor:
    """What each piece of a query tells, float32 (tokens,): its prefix nothing."""
    told: Tensor = information[ids.clamp_max(len(information) - 1)].clone()
    told[:prefix_tokens] = 0.0
    return told


def _vocabulary(folder: Path) -> tuple[dict[str, Any], list[int]]:
    try:
        raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return raw["model"], [int(t["id"]) for t in raw["added_tokens"] if t["special"]]
    except (OSError, ValueError, KeyError) as error:
        raise ModelSourceError(f"{folder} has no readable tokenizer.json: {error}") from error


def _tokenizer(folder: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises a bare Exception
        raise ModelSourceError(f"{folder} has no readable tokenizer.json: {error}") from error
    tokenizer.no_padding()
    return tokenizer


def _transformer(folder: Path, device: str) -> nn.Module:
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
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(chosen)
