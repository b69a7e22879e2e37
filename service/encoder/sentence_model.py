"""A sentence-transformers model of any make, run by that library."""

import copy
import threading
from collections.abc import Iterator, Sequence
from typing import Self
from weakref import WeakValueDictionary

import numpy as np
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from service.forward_pass import token_batches
from service.types import Vectors


class SentenceModel:
    """Texts to vectors. Calls from several threads wait for each other: they share a tokenizer."""

    def __init__(self, model: SentenceTransformer, *, batch_tokens: int) -> None:
        """Take a loaded model; at most `batch_tokens` tokens, padding counted, are one batch."""
        self._model, self._batch_tokens = model, batch_tokens
        self._lock = threading.Lock()
        self._counter = _counter(model)
        self._twins: WeakValueDictionary[str, Self] = WeakValueDictionary()
        self._twins_lock = threading.Lock()

    static = False

    @property
    def dimension(self) -> int:
        """Of a vector; 0 where the model does not say."""
        return self._model.get_embedding_dimension() or 0

    @property
    def special_tokens(self) -> int:
        """Special tokens that each text gets."""
        found: int = self._model.tokenizer.num_special_tokens_to_add()
        return found

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Cuts and pads nothing; None if the model has none of this kind."""
        return self._counter

    def twin(self, work: str, /) -> Self:
        """Another one with the same weights in memory, whose calls do not wait for this one's.

        The same one for the same work: its tokenizer takes up to a hundred megabytes and a second.
        """
        with self._twins_lock:
            twin = self._twins.get(work)
            if twin is None:
                twin = self._twins[work] = self._copy()
            return twin

    def _copy(self) -> Self:
        other = copy.copy(self)
        weights = [*self._model.parameters(), *self._model.buffers()]
        other._model = copy.deepcopy(self._model, {id(weight): weight for weight in weights})
        other._lock = threading.Lock()
        return other

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text alone: no special tokens, nothing cut."""
        if not texts:
            return []
        if self._counter is not None:
            found = self._counter.encode_batch_fast(list(texts), add_special_tokens=False)
            return [len(encoding) for encoding in found]
        with self._lock:
            # Truncation and padding are state of the tokenizer, so every call says them.
            encoded = self._model.tokenizer(
                list(texts),
                add_special_tokens=False,
                truncation=False,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
        return [len(ids) for ids in encoded["input_ids"]]

    def encode(self, texts: Sequence[str], /, window: int) -> Vectors:
        """Vectors of texts that have their prefix, cut to `window` tokens: float32 (n, dim)."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        batches = self._batches(texts, window)
        with self._lock:
            self._model.max_seq_length = window
            for batch in batches:
                vectors[batch] = self._model.encode(
                    [texts[i] for i in batch],
                    prompt="",  # else the model's default prompt would come before our prefix
                    batch_size=len(batch),
                    show_progress_bar=False,
                )
        return vectors

    def _batches(self, texts: Sequence[str], window: int) -> Iterator[list[int]]:
        special = self.special_tokens
        lengths = [min(count + special, window) for count in self.count_tokens(texts)]
        return token_batches(lengths, self._batch_tokens)


def _counter(model: SentenceTransformer) -> Tokenizer | None:
    """The model's tokenizer once more, to count alone: in half the time of its wrapping.

    Its truncation and padding are never set, so threads may share it. None if there is
    none.
    """
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    counter: Tokenizer = Tokenizer.from_str(backend.to_str())
    counter.no_padding()
    counter.no_truncation()
    return counter
