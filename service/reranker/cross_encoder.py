"""A sentence-transformers cross-encoder."""

import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from transformers.utils import logging as transformers_logging

from service.batching import token_batches
from service.errors import InferenceError, ModelSourceError, UnprocessableTextError
from service.types import PairScore

FEWEST_PASSAGE_TOKENS = 16
"""A query must leave at least this much of the window: a pair without a passage says nothing."""


class CrossEncoderReranker:
    """Implements `service.protocols.Reranker`, in float32 on every device. Scores are raw logits.

    A pair is cut to `max_length` tokens, or to the model's own maximum if that is less, at its
    passage's end and never in its query. Pairs are scored in batches of at most `batch_tokens`
    tokens, padding counted, of pairs of like length. Calls from several threads wait for each
    other, as they share one tokenizer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        weights_sha256: str,
        max_length: int,
        batch_tokens: int,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        """Load the model; raises `ModelSourceError` when it cannot be, or gives several scores.

        `device` and `threads` are as for `service.encoder.bi_encoder.BiEncoder`.
        """
        self._name, self._weights_sha256 = model, weights_sha256
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        if threads:
            torch.set_num_threads(threads)
        self._model = _load(folder, model, device)
        if self._model.num_labels != 1:
            raise ModelSourceError(
                f"{model} gives {self._model.num_labels} scores to a pair; a reranker gives one"
            )
        self._max_length = min(max_length, self._model.max_seq_length or max_length)
        special = self._model.tokenizer.num_special_tokens_to_add(pair=True)
        self._room = self._max_length - special

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    @property
    def weights_sha256(self) -> str:
        """The hash of the model's files."""
        return self._weights_sha256

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        """Logits of (query, passage) pairs in input order, all finite.

        Raises `UnprocessableTextError` for a query that leaves the passage too little room, and
        `InferenceError` for a score that is not finite.
        """
        if not pairs:
            return []
        with self._lock:
            try:
                lengths = self._lengths(pairs)
                logits = self._logits(pairs, lengths)
            except UnprocessableTextError:
                raise
            except Exception as error:  # the libraries raise whatever their parts raise
                raise InferenceError(f"{self._name} failed: {type(error).__name__}") from error
        if not np.isfinite(logits).all():
            raise InferenceError(f"{self._name} gave a score that is not finite")
        return [
            PairScore(float(logit), length > self._room)
            for logit, length in zip(logits, lengths, strict=True)
        ]

    def _lengths(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Tokens of each pair before anything is cut, special ones not counted."""
        queries = self._count_tokens({query for query, _passage in pairs})
        passages = self._count_tokens({passage for _query, passage in pairs})
        limit = self._room - FEWEST_PASSAGE_TOKENS
        if max(queries.values()) > limit:
            raise UnprocessableTextError(
                f"the query has {max(queries.values())} tokens; to be reranked it may have at most "
                f"{limit}",
                "query",
            )
        return [queries[query] + passages[passage] for query, passage in pairs]

    def _count_tokens(self, texts: Collection[str]) -> dict[str, int]:
        encoded = self._model.tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return dict(zip(texts, map(len, encoded["input_ids"]), strict=True))

    def _logits(
        self, pairs: Sequence[tuple[str, str]], lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        logits = np.empty(len(pairs), np.float32)
        special = self._max_length - self._room
        costs = [min(length, self._room) + special for length in lengths]
        cut = {"text": {"truncation": "only_second", "max_length": self._max_length}}
        for batch in token_batches(costs, self._batch_tokens):
            logits[batch] = self._model.predict(
                [pairs[i] for i in batch],
                prompt="",
                batch_size=len(batch),
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
                processing_kwargs=cut,
            )
        return logits


def _load(folder: Path, name: str, device: str) -> CrossEncoder:
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
    model.eval()
    return model
