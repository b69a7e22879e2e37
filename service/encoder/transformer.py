"""A transformer and its tokenizer: texts become pooled vectors, or the states of their tokens."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn.functional import normalize

from service.encoder.plain_folder import Pooling, stated_window
from service.encoder.tokenizer_folder import load_tokenizer
from service.encoder.transformer_backends import PLAIN, Backends, Opened, open_backends
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
        opened: Opened,
        tokenizer: Tokenizer,
        *,
        batch_tokens: int,
        pooling: Pooling = "mean",
        backends: Backends = PLAIN,
    ) -> None:
        """Take an opened transformer and its tokenizer, which has no other use afterwards."""
        self._hidden, self._layers, self._longest = opened.hidden, opened.layers, opened.longest
        self._tokenizer = tokenizer
        self._batch_tokens, self._pooling = batch_tokens, pooling
        # Truncation and padding would be state of the tokenizer, which threads share.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._opening, self._closing = _special_pieces(tokenizer)
        self._run, self.backends = opened.runs[backends.passages], backends
        self.queries = copy.copy(self)
        self.queries._run = opened.runs[backends.queries]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        batch_tokens: int,
        device: str = "auto",
        pooling: Pooling = "mean",
        backends: Backends = PLAIN,
        kept: Path | None = None,
    ) -> Self:
        """Load what is in a folder. Raises `ModelSourceError`.

        `kept` is a folder of these weights' own for what is made of them, to start sooner next
        time.
        """
        # The tokenizer first: to make it takes memory that the model can have afterwards.
        tokenizer, window = load_tokenizer(folder)
        longest = stated_window(folder) or window
        opened = open_backends(folder, device, backends, longest, kept)
        return cls(opened, tokenizer, batch_tokens=batch_tokens, pooling=pooling, backends=backends)

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

    def twin(self, _work: str, /) -> Self:
        """Itself: any number of threads may call it."""
        return self

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
