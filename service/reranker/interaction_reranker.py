"""A reranker that compares token states, and remembers those of the passages it has seen."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from service.errors import InferenceError
from service.reranker.interaction import InteractionHead
from service.reranker.token_states import (
    StateEncoder,
    TokenStates,
    piece_information,
    query_information,
)
from service.types import PairScore

_QUERIES_KEPT = 32


@dataclass(frozen=True, slots=True)
class _Passage:
    """What the head needs of a passage: float16 vectors, int32 ids, the pooled vector."""

    vectors: Tensor
    ids: Tensor
    pooled: Tensor
    truncated: bool

    @property
    def size(self) -> int:
        return sum(t.nbytes for t in (self.vectors, self.ids, self.pooled))


class InteractionReranker:
    """Implements `service.protocols.Reranker`: logits of an `InteractionHead`.

    Passages cost a pass through the bi-encoder's transformer the first time; their vectors are
    kept, least recently used ones dropped beyond `cache_bytes`. Passages are cut to the head's
    `passage_tokens`, queries to its `query_tokens`. Scores are rounded to 0.001, so that which
    passages were scored together hardly ever shows.
    """

    def __init__(
        self,
        folder: Path,
        base: Path,
        *,
        model: str,
        weights_sha256: str,
        batch_tokens: int,
        cache_bytes: int,
        device: str = "auto",
        transformer: nn.Module | None = None,
    ) -> None:
        """Load the head from `folder` over the bi-encoder in `base`.

        `transformer` is the base's own where it is in memory already. Raises `ModelSourceError`.
        """
        self._name, self._weights_sha256, self._cache_bytes = model, weights_sha256, cache_bytes
        self._head = InteractionHead.load(folder)
        self._information = piece_information(base)
        self._encoder = StateEncoder(
            base,
            layers=self._head.config.layers,
            batch_tokens=batch_tokens,
            device=device,
            transformer=transformer,
        )
        self._cache: OrderedDict[str, _Passage] = OrderedDict()
        self._cached_bytes = 0
        self._queries: OrderedDict[str, TokenStates] = OrderedDict()
        self._lock = threading.Lock()
        self._prefix_tokens = self._encoder.prefix_tokens(self._head.config.query_prefix)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    @property
    def weights_sha256(self) -> str:
        """The hash of the model's files, its base's included by the hash in its configuration."""
        return self._weights_sha256

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        """Logits of (query, passage) pairs in input order, all finite.

        Raises `InferenceError` for a score that is not finite.
        """
        if not pairs:
            return []
        with self._lock, torch.inference_mode():
            passages = self._passages(list(dict.fromkeys(passage for _query, passage in pairs)))
            scores: dict[int, PairScore] = {}
            for query in dict.fromkeys(query for query, _passage in pairs):
                places = [i for i, pair in enumerate(pairs) if pair[0] == query]
                found = self._score(query, [passages[pairs[i][1]] for i in places])
                scores |= dict(zip(places, found, strict=True))
        return [scores[i] for i in range(len(pairs))]

    def _score(self, query: str, passages: Sequence[_Passage]) -> list[PairScore]:
        seen = self._query(query)
        count = len(passages)
        states = seen.states[None]
        told = query_information(self._information, seen.ids, self._prefix_tokens)
        vectors, weights = self._head.vectors(states), self._head.weights(states, told[None])
        lengths = torch.tensor([len(p.ids) for p in passages])
        padded = pad_sequence([p.vectors for p in passages], batch_first=True).float()
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        ids = pad_sequence([p.ids for p in passages], batch_first=True)
        scores = self._head(
            (vectors.expand(count, -1, -1), weights.expand(count, -1), seen.ids.expand(count, -1)),
            (padded, mask, ids),
            torch.stack([p.pooled for p in passages]) @ seen.pooled,
        )
        if not torch.isfinite(scores).all():
            raise InferenceError(f"{self._name} gave a score that is not finite")
        return [
            PairScore(round(float(score), 3), seen.truncated or passage.truncated)
            for score, passage in zip(scores, passages, strict=True)
        ]

    def _query(self, query: str) -> TokenStates:
        # A search scores its candidates in slices, and would encode its query for each of them.
        if query not in self._queries:
            config = self._head.config
            (seen,) = self._encode([config.query_prefix + query], config.query_tokens)
            self._queries[query] = seen
            if len(self._queries) > _QUERIES_KEPT:
                self._queries.popitem(last=False)
        return self._queries[query]

    def _passages(self, texts: Sequence[str]) -> dict[str, _Passage]:
        found = {}
        for text in texts:
            if text in self._cache:
                self._cache.move_to_end(text)
                found[text] = self._cache[text]
        missing = [text for text in texts if text not in found]
        if missing:
            config = self._head.config
            seen = self._encode(
                [config.passage_prefix + text for text in missing], config.passage_tokens
            )
            for text, states in zip(missing, seen, strict=True):
                found[text] = self._remember(text, states)
        return found

    def _remember(self, text: str, seen: TokenStates) -> _Passage:
        vectors = self._head.vectors(seen.states).half()
        passage = _Passage(vectors, seen.ids.int(), seen.pooled, seen.truncated)
        self._cache[text] = passage
        self._cached_bytes += passage.size
        while self._cached_bytes > self._cache_bytes:
            _text, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.size
        return passage

    def _encode(self, texts: Sequence[str], window: int) -> list[TokenStates]:
        try:
            return self._encoder.encode(texts, window)
        except Exception as error:  # the libraries raise whatever their parts raise
            raise InferenceError(f"{self._name} failed: {type(error).__name__}") from error
