"""A static embedding, run without the library around it."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.encoder.sse import SSE
from service.types import Vectors

_AT_ONCE = 256
"""Texts in one pass: their rows are gathered before they are averaged."""

_READ_TOKENS = 1 << 21
_TOKENS_AROUND = 512
"""Texts that were counted last keep their tokens: most are encoded soon, as they are. Each text
counts as 512 tokens more, so there are at most 4,096."""


class StaticModel:
    """Texts to vectors, and bit by bit the same beside any others. Any thread may call it."""

    def __init__(self, module: SSE) -> None:
        """Take a loaded module that is all of its model."""
        self._module = module.eval()
        self._read: LRUCache[str, NDArray[np.int64]] = LRUCache(
            _READ_TOKENS, lambda own: len(own) + _TOKENS_AROUND
        )
        self._lock = threading.Lock()

    static = True

    @property
    def dimension(self) -> int:
        """Of a vector."""
        return self._module.dimension

    @property
    def special_tokens(self) -> int:
        """Special tokens that its tokenizer has for each text; the model reads none of them."""
        tokenizer: Any = self._module.tokenizer
        found: int = tokenizer.num_special_tokens_to_add()
        return found

    @property
    def tokenizer(self) -> Tokenizer:
        """Cuts and pads nothing."""
        tokenizer: Any = self._module.tokenizer
        found: Tokenizer = tokenizer.backend_tokenizer
        return found

    def twin(self, _work: str, /) -> "StaticModel":
        """Itself: no call waits for another one."""
        return self

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text: nothing cut."""
        tokens = self._module.tokens(texts)
        with self._lock:
            for text, own in zip(texts, tokens, strict=True):
                with suppress(ValueError):  # larger than all of the cache
                    self._read[text] = own
        return [len(own) for own in tokens]

    def encode(self, texts: Sequence[str], /, window: int) -> Vectors:
        """Vectors of texts that have their prefix, cut to `window` tokens: float32 (n, dim)."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        device = self._module.embedding.weight.device
        for start in range(0, len(texts), _AT_ONCE):
            tokens = self._tokens(texts[start : start + _AT_ONCE])
            features = self._module.bags([own[:window] for own in tokens])
            with torch.inference_mode():
                given = self._module({name: part.to(device) for name, part in features.items()})
            found = given["sentence_embedding"].float().cpu().numpy()
            vectors[start : start + len(found)] = found
        return vectors

    def _tokens(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        with self._lock:
            known = {text: self._read[text] for text in texts if text in self._read}
        missing = [text for text in texts if text not in known]
        known |= zip(missing, self._module.tokens(missing), strict=True)
        return [known[text] for text in texts]
