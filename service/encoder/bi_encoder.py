"""A bi-encoder out of a sentence-transformers folder."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from service.encoder.plain_folder import plain_pooling
from service.encoder.transformer import Transformer, pieces_of
from service.encoder.transformer_backends import PLAIN, Backends
from service.errors import InferenceError, ModelSourceError, NotAvailableError
from service.types import EncoderIdentity, Piece, TokenStates, Vectors

if TYPE_CHECKING:
    from service.encoder.sentence_model import SentenceModel
    from service.encoder.static_model import StaticModel

    LoadedModel = Transformer | StaticModel | SentenceModel


class BiEncoder:
    """Implements `service.protocols.Encoder`.

    Texts are encoded in batches of at most `batch_tokens` tokens, padding counted, of texts of like
    length. A transformer whose states are averaged, or whose first is taken, is run here and
    called by any number of threads; any other model is run by sentence-transformers, and calls
    from several threads wait for each other.
    """

    def __init__(
        self,
        folder: Path,
        identity: EncoderIdentity,
        *,
        batch_tokens: int,
        dimensions: int | None = None,
        query_tokens: int | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        """Load the model; raises `ModelSourceError` when the folder holds none with this identity.

        `dimensions` cuts each vector to its first ones, as Matryoshka models allow. Passages have a
        window of `identity.max_length` tokens; queries one of `query_tokens`, the same if left out.
        `device` is `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`. `threads` above 0
        bounds the CPU threads of the whole process.
        """
        model = load_model(folder, identity.model, batch_tokens, device, threads)
        self._take(model, identity, dimensions, query_tokens)

    @classmethod
    def over(
        cls,
        model: "LoadedModel",
        identity: EncoderIdentity,
        *,
        dimensions: int | None = None,
        query_tokens: int | None = None,
    ) -> Self:
        """One with weights that are in memory already; the rest is as for the constructor."""
        encoder = cls.__new__(cls)
        encoder._take(model, identity, dimensions, query_tokens)
        return encoder

    def _take(
        self,
        model: "LoadedModel",
        identity: EncoderIdentity,
        dimensions: int | None,
        query_tokens: int | None,
    ) -> None:
        self._use(model)
        self._identity, self._dimensions = identity, dimensions
        self._query_window = query_tokens or identity.max_length
        self._static = not isinstance(model, Transformer) and model.static
        dimension = model.dimension
        if min(dimension, dimensions or dimension) != identity.dimension:
            raise ModelSourceError(
                f"the vectors of {identity.model} have {dimension} dimensions, "
                f"not {identity.dimension}"
            )
        bare, query, passage = self.count_tokens(
            ["a", identity.query_prefix + "a", identity.passage_prefix + "a"]
        )
        around = self._model.special_tokens - bare
        self._query_budget: int = self._query_window - around - query
        self._passage_budget: int = identity.max_length - around - passage

    def _use(self, model: "LoadedModel") -> None:
        self._model = model
        self._query_model = model.queries if isinstance(model, Transformer) else model

    @property
    def identity(self) -> EncoderIdentity:
        """All that decides a text's vector."""
        return self._identity

    @property
    def transformer(self) -> Transformer | None:
        """What gives the states of a text's tokens; None where the model has no such thing."""
        return self._model if isinstance(self._model, Transformer) else None

    @property
    def backends(self) -> dict[str, str]:
        """What runs the transformer for queries and for passages; empty where there is none."""
        model = self.transformer
        if model is None:
            return {}
        return {"queries": model.backends.queries, "passages": model.backends.passages}

    @property
    def static(self) -> bool:
        """Whether a token costs it no more than to look up its row."""
        return self._static

    def twin(self, work: str, /) -> Self:
        """The same weights in memory, and calls that do not wait for this one's."""
        other = copy.copy(self)
        other._use(self._model.twin(work))
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
        return self._model.count_tokens(texts)

    def pieces(self, texts: Sequence[str], /) -> list[list[Piece]]:
        """The tokens that `count_tokens` counts. Raises `NotAvailableError` if none are known."""
        tokenizer = self._model.tokenizer
        if tokenizer is None:
            raise NotAvailableError(f"{self._identity.model} does not show its tokens")
        return pieces_of(tokenizer, texts)

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """Cleaned texts without prefix -> float32 (n, dim), rows of unit length, input order.

        What exceeds the queries' window, prefix and special tokens counted, is cut off. Raises
        `InferenceError` when a row is not finite or has no direction.
        """
        return self._unit(self._query_model.encode(self._as_queries(texts), self._query_window))

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """The same for passages, in their own window."""
        return self._unit(self._model.encode(self._as_passages(texts), self._identity.max_length))

    def encode_passages_and_states(
        self, texts: Sequence[str], /, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        """The same in one pass with the states of these layers. Needs a `transformer`."""
        prefixed, window = self._as_passages(texts), self._identity.max_length
        return self._with_states(self._model, prefixed, window, layers)

    def encode_queries_and_states(
        self, texts: Sequence[str], /, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        """The same for queries."""
        prefixed, window = self._as_queries(texts), self._query_window
        return self._with_states(self._query_model, prefixed, window, layers)

    def _as_queries(self, texts: Sequence[str]) -> list[str]:
        return [self._identity.query_prefix + text for text in texts]

    def _as_passages(self, texts: Sequence[str]) -> list[str]:
        return [self._identity.passage_prefix + text for text in texts]

    def _with_states(
        self, model: "LoadedModel", prefixed: Sequence[str], window: int, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        if not isinstance(model, Transformer):
            raise ModelSourceError(f"{self._identity.model} has no token states")
        seen = model.states(prefixed, window, layers)
        pooled = np.array([s.pooled for s in seen], np.float32).reshape(len(seen), -1)
        return self._unit(pooled), seen

    def _unit(self, vectors: Vectors) -> Vectors:
        vectors = vectors[:, : self._dimensions]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms) & (norms > 0.0)).all():
            raise InferenceError(f"{self._identity.model} gave a vector without a direction")
        unit: Vectors = vectors / norms
        return unit


def load_model(
    folder: Path,
    name: str,
    batch_tokens: int,
    device: str,
    threads: int = 0,
    backends: Backends = PLAIN,
    kept: Path | None = None,
) -> "LoadedModel":
    """What a bi-encoder's folder holds, as for `BiEncoder`. Raises `ModelSourceError`.

    `backends` run a plain folder's transformer, and `kept` is as for `Transformer.load`; any other
    model runs in float32.
    """
    if threads:
        torch.set_num_threads(threads)
    pooling = plain_pooling(folder)
    try:
        if pooling:
            return Transformer.load(
                folder,
                batch_tokens=batch_tokens,
                device=device,
                pooling=pooling,
                backends=backends,
                kept=kept,
            )
        # Not before it is needed: to import its library takes seconds and a hundred megabytes.
        from service.encoder.loading import load_by_library  # noqa: PLC0415

        return load_by_library(folder, batch_tokens=batch_tokens, device=device)
    except Exception as error:  # the libraries raise whatever their parts raise
        raise ModelSourceError(f"{name} cannot be loaded from {folder}: {error}") from error
