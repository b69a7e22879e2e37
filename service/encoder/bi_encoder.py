"""A sentence-transformers bi-encoder."""

import copy
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers.utils import logging as transformers_logging

from service.batching import token_batches
from service.encoder.loading import load_sentence_transformer
from service.encoder.sse import SSE
from service.errors import InferenceError, ModelSourceError
from service.types import EncoderIdentity, Vectors

_STATIC_BATCH = 256
"""Texts in one batch of a static embedding."""


class BiEncoder:
    """Implements `service.protocols.Encoder`, in float32 on every device.

    Texts are encoded in batches of at most `batch_tokens` tokens, padding counted, of texts of like
    length. Calls from several threads wait for each other, as they share one tokenizer.
    """

    def __init__(
        self,
        folder: Path,
        identity: EncoderIdentity,
        *,
        batch_tokens: int,
        dimensions: int | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        """Load the model; raises `ModelSourceError` when the folder holds none with this identity.

        `dimensions` cuts each vector to its first ones, as Matryoshka models allow.
        `device` is `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`. `threads` above 0
        bounds the CPU threads of the whole process.
        """
        self._identity, self._batch_tokens = identity, batch_tokens
        self._lock = threading.Lock()
        if threads:
            torch.set_num_threads(threads)
        self._model = _load(folder, identity.model, device)
        self._model.truncate_dim = dimensions
        dimension = self._model.get_embedding_dimension()
        if dimension != identity.dimension:
            raise ModelSourceError(
                f"the vectors of {identity.model} have {dimension} dimensions, "
                f"not {identity.dimension}"
            )
        self._model.max_seq_length = identity.max_length
        self._special_tokens: int = self._model.tokenizer.num_special_tokens_to_add()
        bare, query, passage = self.count_tokens(
            ["a", identity.query_prefix + "a", identity.passage_prefix + "a"]
        )
        room = identity.max_length - self._special_tokens + bare
        self._query_budget: int = room - query
        self._passage_budget: int = room - passage

    @property
    def identity(self) -> EncoderIdentity:
        """All that decides a text's vector."""
        return self._identity

    @property
    def transformer(self) -> nn.Module | None:
        """The loaded transformer, for a reranker that reads its states; None where it has none."""
        found: nn.Module | None = getattr(self._model[0], "auto_model", None)
        return found

    def twin(self) -> Self:
        """Another one with the same weights in memory, whose calls do not wait for this one's."""
        other = copy.copy(self)
        weights = [*self._model.parameters(), *self._model.buffers()]
        other._model = copy.deepcopy(self._model, {id(weight): weight for weight in weights})
        other._lock = threading.Lock()
        return other

    @property
    def query_budget(self) -> int:
        """Tokens of text that fit the window beside the query prefix and the special tokens."""
        return self._query_budget

    @property
    def passage_budget(self) -> int:
        """The same for passages."""
        return self._passage_budget

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text alone: no prefix, no special tokens, nothing cut."""
        if not texts:
            return []
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

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """Cleaned texts without prefix -> float32 (n, dim), rows of unit length, input order.

        What exceeds `identity.max_length` tokens, prefix and special tokens counted, is cut off.
        Raises `InferenceError` when a row is not finite or has no direction.
        """
        return self._encode([self._identity.query_prefix + text for text in texts])

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """The same for passages."""
        return self._encode([self._identity.passage_prefix + text for text in texts])

    def _encode(self, texts: list[str]) -> Vectors:
        vectors = np.empty((len(texts), self._identity.dimension), np.float32)
        batches = self._batches(texts)
        with self._lock:
            for batch in batches:
                vectors[batch] = self._model.encode(
                    [texts[i] for i in batch],
                    prompt="",  # else the model's default prompt would come before our prefix
                    batch_size=len(batch),
                    show_progress_bar=False,
                )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms) & (norms > 0.0)).all():
            raise InferenceError(f"{self._identity.model} gave a vector without a direction")
        vectors /= norms
        return vectors

    def _batches(self, texts: list[str]) -> Iterable[Sequence[int]]:
        if isinstance(self._model[0], SSE):  # pads nothing, and is done before tokens are counted
            places = range(len(texts))
            return [places[i : i + _STATIC_BATCH] for i in places[::_STATIC_BATCH]]
        window, special = self._identity.max_length, self._special_tokens
        lengths = [min(count + special, window) for count in self.count_tokens(texts)]
        return token_batches(lengths, self._batch_tokens)


def _load(folder: Path, name: str, device: str) -> SentenceTransformer:
    # A server's log is no place for it.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = load_sentence_transformer(
            folder,
            device=None if device == "auto" else device,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(f"{name} cannot be loaded from {folder}: {error}") from error
    model.eval()
    return model
