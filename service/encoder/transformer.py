"""A transformer and its tokenizer: texts become pooled vectors, or the states of their tokens."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

import service.encoder.moe  # noqa: F401 - makes its architectures known to transformers
from service.encoder.open_backends import PLAIN, Backends, open_backends
from service.encoder.packed_rows import pack_embedding
from service.encoder.plain_folder import Pooling, stated_window
from service.errors import ModelSourceError
from service.forward_pass import token_batches
from service.types import Piece, TokenStates, Vectors


class Transformer:
    """Implements `service.protocols.TokenEncoder`.

    Texts are batched by length, at most `batch_tokens` tokens a batch, padding counted. Nothing
    in it changes once it is made, so any number of threads may call it at a time.
    """

    queries: "Transformer"
    """The same one with the backend of queries; this one has that of passages."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        *,
        longest: int,
        batch_tokens: int,
        pooling: Pooling = "mean",
        backends: Backends = PLAIN,
    ) -> None:
        """Take a loaded transformer and its tokenizer, which have no other use afterwards.

        `longest` is in tokens. Raises `ModelSourceError` for a backend that cannot run it.
        """
        config: Any = model.config
        self._hidden, self._layers = int(config.hidden_size), int(config.num_hidden_layers)
        self._tokenizer, self._longest = tokenizer, longest
        self._batch_tokens, self._pooling = batch_tokens, pooling
        # Truncation and padding would be state of the tokenizer, which threads share.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._opening, self._closing = _special_pieces(tokenizer)
        run = open_backends(model, longest, backends)
        self._run, self.backends = run[backends.passages], backends
        self.queries = copy.copy(self)
        self.queries._run = run[backends.queries]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        batch_tokens: int,
        device: str = "auto",
        pooling: Pooling = "mean",
        backends: Backends = PLAIN,
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
            backends=backends,
        )
        if packed:
            _leave_file(model)
        return loaded

    @property
    def special_tokens(self) -> int:
        """Special tokens that each text gets."""
        return len(self._opening) + len(self._closing)

    @property
    def tokenizer(self) -> Tokenizer:
        """Cuts and pads nothing."""
        return self._tokenizer

    @property
    def hidden(self) -> int:
        """Size of a layer's states."""
        return self._hidden

    @property
    def dimension(self) -> int:
        """Of a vector: its states' own."""
        return self.hidden

    def require_layers(self, layers: Sequence[int]) -> None:
        """Raise `ModelSourceError` for a layer that it lacks; 0 is its embeddings."""
        deepest = self._layers
        if not all(0 <= layer <= deepest for layer in layers):
            raise ModelSourceError(f"the model has the layers 0 to {deepest}, not {tuple(layers)}")

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text alone: no special tokens, nothing cut."""
        return [len(encoding) for encoding in self._encoded(texts)]

    def pieces(self, texts: Sequence[str], /) -> list[list[Piece]]:
        """The tokens that `count_tokens` counts."""
        return pieces_of(self._tokenizer, texts)

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
        for batch, rows in self._batches(ids):
            with torch.inference_mode():
                (last,) = self._run(rows)
            vectors[batch] = self._pooled(last, rows)
        return vectors

    def states(
        self, texts: Sequence[str], /, window: int, layers: Sequence[int]
    ) -> list[TokenStates]:
        """Token states of texts that have their prefix, in input order; cut as by `encode`."""
        ids, cut = self._windowed(texts, window)
        done: dict[int, TokenStates] = {}
        for batch, rows in self._batches(ids):
            with torch.inference_mode():
                last, *chosen = self._run(rows, layers)
                states = torch.cat([normalize(one, dim=-1) for one in chosen], -1).numpy()
                pooled = normalize(torch.from_numpy(self._pooled(last, rows)), dim=-1).numpy()
            start = 0
            for place, index in enumerate(batch):
                tokens = np.array(ids[index], np.int32)
                # Copies: a view would keep the whole batch in memory.
                own = states[start : start + len(tokens)].copy()
                done[index] = TokenStates(tokens, own, pooled[place].copy(), cut[index])
                start += len(tokens)
        return [done[index] for index in range(len(ids))]

    def _pooled(self, last: Tensor, rows: Sequence[Sequence[int]]) -> Vectors:
        states: Vectors = last.numpy()
        lengths = np.array([len(row) for row in rows], np.int64)
        starts = np.cumsum(lengths) - lengths
        if self._pooling == "cls":
            first: Vectors = states[starts]
            return first
        means: Vectors = np.add.reduceat(states, starts)
        means /= lengths[:, None]
        return means

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

    def _batches(
        self, ids: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], list[Sequence[int]]]]:
        """Places and pieces of each batch, the longest texts first."""
        for batch in token_batches([len(row) for row in ids], self._batch_tokens):
            yield batch, [ids[i] for i in batch]


def pieces_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[Piece]]:
    """The tokens of each text, without special ones."""
    found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [
        [Piece(id_, *place) for id_, place in zip(one.ids, one.offsets, strict=True)]
        for one in found
    ]


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
