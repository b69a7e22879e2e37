"""A transformer and its tokenizer: texts become pooled vectors, or the states of their tokens."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize, pad
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

import service.encoder.moe  # noqa: F401 - makes its architectures known to transformers
from service.encoder.packed_rows import pack_embedding
from service.encoder.plain_folder import Pooling, stated_window
from service.errors import ModelSourceError
from service.forward_pass import pack_linear_layers, token_batches
from service.types import TokenStates, Vectors

_STEP = 8
"""Texts are padded to a multiple of this many tokens: a matrix product gives a row the same bits
beside other rows where their number is such a multiple, and others where it is not (measured)."""

_ALIKE = 64
"""Texts of up to this many tokens, such as queries, are only batched with those that are padded to
the same length, so that their vectors are the same bits alone and in any company."""

_PADDING = 1
"""Any piece would do: the mask hides it."""


class Transformer:
    """Implements `service.protocols.TokenEncoder`, in float32 on every device.

    Texts are batched by length, at most `batch_tokens` tokens a batch, padding counted. Nothing
    in it changes once it is made, so any number of threads may call it at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        *,
        longest: int,
        batch_tokens: int,
        pooling: Pooling = "mean",
    ) -> None:
        """Take a loaded transformer and its tokenizer, which have no other use afterwards.

        `longest` is in tokens.
        """
        self._model, self._tokenizer = model, tokenizer
        self._longest, self._batch_tokens, self._pooling = longest, batch_tokens, pooling
        # Truncation and padding would be state of the tokenizer, which threads share.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._opening, self._closing = _special_pieces(tokenizer)
        if next(model.parameters()).device.type == "cpu":
            pack_linear_layers(model, lambda: self.encode(["a"], longest))

    @classmethod
    def load(
        cls, folder: Path, *, batch_tokens: int, device: str = "auto", pooling: Pooling = "mean"
    ) -> Self:
        """Load what is in a folder. Raises `ModelSourceError`."""
        # The tokenizer first: to make it takes memory that the model can have afterwards.
        tokenizer = _load_tokenizer(folder)
        model: Any = _load_model(folder, device)
        longest = stated_window(folder) or min(
            tokenizer.model_max_length, model.config.max_position_embeddings
        )
        words = getattr(getattr(model, "embeddings", None), "word_embeddings", None)
        packed = (
            words is not None
            and words.weight.device.type == "cpu"
            and pack_embedding(model.embeddings, "word_embeddings", folder)
        )
        loaded = cls(
            model,
            tokenizer.backend_tokenizer,
            longest=longest,
            batch_tokens=batch_tokens,
            pooling=pooling,
        )
        if packed:
            _leave_file(model)
        return loaded

    @property
    def special_tokens(self) -> int:
        """Special tokens that each text gets."""
        return len(self._opening) + len(self._closing)

    @property
    def hidden(self) -> int:
        """Size of a layer's states."""
        return self._config("hidden_size")

    @property
    def dimension(self) -> int:
        """Of a vector: its states' own."""
        return self.hidden

    def require_layers(self, layers: Sequence[int]) -> None:
        """Raise `ModelSourceError` for a layer that it lacks; 0 is its embeddings."""
        deepest = self._config("num_hidden_layers")
        if not all(0 <= layer <= deepest for layer in layers):
            raise ModelSourceError(f"the model has the layers 0 to {deepest}, not {tuple(layers)}")

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text alone: no special tokens, nothing cut."""
        return [len(encoding) for encoding in self._encoded(texts)]

    def prefix_tokens(self, prefix: str) -> int:
        """Tokens before the text in `prefix + text`: special ones, and the prefix's own."""
        bare, prefixed = self._ids(["a", prefix + "a"])
        return len(self._opening) + len(prefixed) - len(bare)

    def encode(self, texts: Sequence[str], /, window: int) -> Vectors:
        """Pooled vectors of texts that have their prefix: float32 (n, hidden), not normalised.

        Texts are cut to `window` tokens, or to the transformer's own maximum if that is less.
        """
        vectors = np.empty((len(texts), self.hidden), np.float32)
        ids, _cut = self._windowed(texts, window)
        with torch.inference_mode():
            for batch, pieces, mask in self._batches(ids):
                last = self._model(input_ids=pieces, attention_mask=mask).last_hidden_state
                vectors[batch] = self._pooled(last.float(), mask).cpu().numpy()
        return vectors

    def states(
        self, texts: Sequence[str], /, window: int, layers: Sequence[int]
    ) -> list[TokenStates]:
        """Token states of texts that have their prefix, in input order; cut as by `encode`."""
        ids, cut = self._windowed(texts, window)
        done: dict[int, TokenStates] = {}
        with torch.inference_mode():
            for batch, pieces, mask in self._batches(ids):
                states, pooled = self._seen(pieces, mask, layers)
                for row, index in enumerate(batch):
                    tokens = np.array(ids[index], np.int32)
                    # Copies: a view would keep the whole batch in memory.
                    own = states[row, : len(tokens)].copy()
                    done[index] = TokenStates(tokens, own, pooled[row].copy(), cut[index])
        return [done[index] for index in range(len(ids))]

    def _seen(
        self, pieces: Tensor, mask: Tensor, layers: Sequence[int]
    ) -> tuple[NDArray[np.float32], Vectors]:
        # Naming the layers leaves the others out of memory.
        output = self._model(
            input_ids=pieces, attention_mask=mask, output_hidden_states=sorted(set(layers))
        )
        chosen = torch.cat([normalize(output.hidden_states[i].float(), dim=-1) for i in layers], -1)
        pooled = normalize(self._pooled(output.last_hidden_state.float(), mask), dim=-1)
        return chosen.cpu().numpy(), pooled.cpu().numpy()

    def _pooled(self, last: Tensor, mask: Tensor) -> Tensor:
        if self._pooling == "cls":
            return last[:, 0]
        return (last * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def _windowed(self, texts: Sequence[str], window: int) -> tuple[list[list[int]], list[bool]]:
        """Pieces of each text with the special ones, and whether it had to be cut."""
        room = min(window, self._longest) - self.special_tokens
        found = self._ids(texts)
        ids = [[*self._opening, *pieces[:room], *self._closing] for pieces in found]
        return ids, [len(pieces) > room for pieces in found]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._encoded(texts)]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Places, pieces and mask of each batch, the two on the model's device."""
        device = next(self._model.parameters()).device
        padded = [min(-(-len(row) // _STEP) * _STEP, self._longest) for row in ids]
        for batch in token_batches(padded, self._batch_tokens):
            for part in _alike(batch, padded):
                rows = [torch.tensor(ids[i]) for i in part]
                short = padded[part[0]] - len(rows[0])
                rows[0] = pad(rows[0], (0, short), value=_PADDING)  # and the others with it
                pieces = pad_sequence(rows, batch_first=True, padding_value=_PADDING)
                lengths = torch.tensor([len(ids[i]) for i in part])
                mask = torch.arange(pieces.shape[1]) < lengths[:, None]
                yield part, pieces.to(device), mask.long().to(device)

    def _config(self, name: str) -> int:
        config: Any = self._model.config
        return int(getattr(config, name))


def _alike(batch: Sequence[int], padded: Sequence[int]) -> Iterator[list[int]]:
    """The batch, longest first, with its short texts in parts of one length each."""
    for _, part in groupby(batch, key=lambda i: min(padded[i], _ALIKE + 1)):
        yield list(part)


def _special_pieces(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before a text, and behind it."""
    seen = tokenizer.encode("a")
    special = seen.special_tokens_mask
    text = special.index(0) if 0 in special else len(special)
    after = len(special) - special[::-1].index(0) if 0 in special else len(special)
    return seen.ids[:text], seen.ids[after:]


def _leave_file(model: nn.Module) -> None:
    """Copy the weights that are left: one that is still mapped keeps all of the file in memory."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def _load_tokenizer(folder: Path) -> Any:
    # With the special pieces that the folder's other files name.
    try:
        found = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        found.backend_tokenizer.get_vocab_size()
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(f"{folder} has no readable tokenizer: {error}") from error
    return found


def _load_model(folder: Path, device: str) -> nn.Module:
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
