"""A reranker that compares token states: those of passages are made once, and kept."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.errors import InferenceError
from service.protocols import TokenEncoder
from service.reranker.interaction import InteractionHead
from service.reranker.packed_states import PackedStates, best_matches
from service.reranker.piece_information import piece_information, query_information
from service.types import EncoderIdentity, PairScore, PassageMemory, TokenStates, Vectors

_QUERIES_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Query:
    """What the head needs of a query: of its m tokens that count, (m, dim), (m,), (m,)."""

    vectors: Vectors
    weights: NDArray[np.float32]
    ids: NDArray[np.int32]
    pooled: NDArray[np.float32]
    truncated: bool


class InteractionReranker:
    """Implements `service.protocols.StateReranker`: logits of an `InteractionHead`.

    A passage costs a pass through the bi-encoder's transformer unless a `memory` has its states;
    they are kept, least recently used ones dropped beyond `cache_bytes`. Passages are cut to the
    head's `passage_tokens`, queries to its `query_tokens`. Scores are rounded to 0.001, so that
    which passages were scored together hardly ever shows.
    """

    def __init__(
        self,
        folder: Path,
        base: Path,
        encoder: TokenEncoder,
        *,
        model: str,
        weights_sha256: str,
        cache_bytes: int,
    ) -> None:
        """Load the head from `folder`; `encoder` is the bi-encoder in `base`.

        Raises `ModelSourceError`.
        """
        self._name, self._weights_sha256, self._cache_bytes = model, weights_sha256, cache_bytes
        self._head = InteractionHead.load(folder)
        self._information = piece_information(base)
        self._encoder = encoder
        self._cache: OrderedDict[str, PackedStates] = OrderedDict()
        self._cached_bytes = 0
        self._queries: OrderedDict[str, _Query] = OrderedDict()
        self._lock, self._queries_lock = threading.Lock(), threading.Lock()
        self._prefix_tokens = encoder.prefix_tokens(self._head.config.query_prefix)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    @property
    def weights_sha256(self) -> str:
        """The hash of the model's files, its base's included by the hash in its configuration."""
        return self._weights_sha256

    @property
    def layers(self) -> tuple[int, ...]:
        """Of the bi-encoder, those whose states are compared."""
        return self._head.config.layers

    def reads(self, encoder: EncoderIdentity) -> bool:
        """Whether the states that this encoder gives are what the head reads."""
        config = self._head.config
        return (encoder.weights_sha256, encoder.query_prefix, encoder.passage_prefix) == (
            config.base_weights_sha256,
            config.query_prefix,
            config.passage_prefix,
        )

    @property
    def passage_tokens(self) -> int:
        """Tokens that are read of a passage, its prefix and special ones counted."""
        return self._head.config.passage_tokens

    def score(
        self, pairs: Sequence[tuple[str, str]], /, memory: PassageMemory | None = None
    ) -> list[PairScore]:
        """Logits of (query, passage) pairs in input order, all finite.

        Raises `InferenceError` for a score that is not finite.
        """
        if not pairs:
            return []
        with self._lock, torch.inference_mode():
            passages = self._passages(list(dict.fromkeys(p for _query, p in pairs)), memory)
            scores: dict[int, PairScore] = {}
            for query in dict.fromkeys(query for query, _passage in pairs):
                places = [i for i, pair in enumerate(pairs) if pair[0] == query]
                found = self._score(query, [passages[pairs[i][1]] for i in places])
                scores |= dict(zip(places, found, strict=True))
        return [scores[i] for i in range(len(pairs))]

    def see_queries(self, queries: Mapping[str, TokenStates]) -> None:
        """States of queries that will be scored soon, which saves a pass for each."""
        with torch.inference_mode():
            for query, seen in queries.items():
                if not seen.truncated and len(seen.ids) <= self._head.config.query_tokens:
                    self._keep_query(query, self._read_query(seen))

    def pack(self, seen: Sequence[TokenStates]) -> list[bytes]:
        """What a memory is to keep of passages, from the states of `layers`."""
        with torch.inference_mode():
            return [self._packed(states).to_bytes() for states in seen]

    def pack_texts(self, texts: Sequence[str]) -> list[bytes]:
        """The same of passages without prefix. Raises `InferenceError`."""
        return self.pack(self._encode_passages(texts))

    def _score(self, query: str, passages: Sequence[PackedStates]) -> list[PairScore]:
        seen, head = self._query(query), self._head
        exact, match, scale = (float(x) for x in (head.exact, head.match, head.scale))
        scores = np.stack([p.pooled for p in passages]).astype(np.float32) @ seen.pooled
        if len(seen.ids):
            scores += match * (best_matches(seen.vectors, seen.ids, exact, passages) @ seen.weights)
        scores *= scale
        if not np.isfinite(scores).all():
            raise InferenceError(f"{self._name} gave a score that is not finite")
        return [
            PairScore(round(score, 3), seen.truncated or passage.truncated)
            for score, passage in zip(scores.tolist(), passages, strict=True)
        ]

    def _query(self, query: str) -> _Query:
        # A search scores its candidates in slices, and would encode its query for each of them.
        with self._queries_lock:
            known = self._queries.get(query)
        if known is not None:
            return known
        config = self._head.config
        (seen,) = self._encode([config.query_prefix + query], config.query_tokens)
        return self._keep_query(query, self._read_query(seen))

    def _keep_query(self, query: str, read: _Query) -> _Query:
        with self._queries_lock:
            self._queries[query] = read
            while len(self._queries) > _QUERIES_KEPT:
                self._queries.popitem(last=False)
        return read

    def _read_query(self, seen: TokenStates) -> _Query:
        states, ids = torch.from_numpy(seen.states), torch.from_numpy(seen.ids).long()
        told = query_information(self._information, ids, self._prefix_tokens)
        weights = self._head.weights(states[None], told[None])[0].numpy()
        # The other tokens come to nothing, whatever they match. What is not a number has to show.
        count = np.flatnonzero(weights != 0.0)
        vectors = self._head.vectors(states[count]).numpy()
        return _Query(vectors, weights[count], seen.ids[count], seen.pooled, seen.truncated)

    def _passages(
        self, texts: Sequence[str], memory: PassageMemory | None
    ) -> dict[str, PackedStates]:
        found = {}
        for text in texts:
            if text in self._cache:
                self._cache.move_to_end(text)
                found[text] = self._cache[text]
        missing = [text for text in texts if text not in found]
        if missing and memory is not None:
            # The memory has its own cache, the operating system's.
            for text, data in memory(missing).items():
                with suppress(ValueError):  # of no use, and so as good as missing
                    found[text] = PackedStates.from_bytes(data)
            missing = [text for text in missing if text not in found]
        if missing:
            for text, seen in zip(missing, self._encode_passages(missing), strict=True):
                found[text] = self._remember(text, self._packed(seen))
        return found

    def _packed(self, seen: TokenStates) -> PackedStates:
        vectors = self._head.vectors(torch.from_numpy(seen.states)).numpy()
        return PackedStates.pack(seen.ids, vectors, seen.pooled, seen.truncated)

    def _remember(self, text: str, passage: PackedStates) -> PackedStates:
        self._cache[text] = passage
        self._cached_bytes += passage.size
        while self._cached_bytes > self._cache_bytes:
            _text, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.size
        return passage

    def _encode_passages(self, texts: Sequence[str]) -> list[TokenStates]:
        config = self._head.config
        return self._encode([config.passage_prefix + text for text in texts], config.passage_tokens)

    def _encode(self, texts: Sequence[str], window: int) -> list[TokenStates]:
        try:
            return self._encoder.states(texts, window, self._head.config.layers)
        except Exception as error:  # the libraries raise whatever their parts raise
            raise InferenceError(f"{self._name} failed: {type(error).__name__}") from error
