"""A reranker that compares token states: those of passages are made once, and kept."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray

from service.errors import InferenceError
from service.protocols import Reranker, TokenEncoder
from service.reranker.interaction import (
    COMMON,
    InteractionHead,
    piece_information,
    query_information,
)
from service.reranker.packed_states import PackedPassages, is_packed, pack
from service.types import (
    EncodedPassage,
    EncodedQuery,
    EncoderIdentity,
    PairScore,
    Piece,
    Reads,
    Span,
    TokenMatches,
    TokenStates,
    Vectors,
)


@dataclass(frozen=True, slots=True)
class _Query:
    """What the head needs of a query: of its m tokens that count, (m, dim), (m,), (m,), (m,)."""

    vectors: Vectors
    weights: NDArray[np.float32]
    ids: NDArray[np.int32]
    places: NDArray[np.int64]
    pooled: NDArray[np.float32]
    truncated: bool


class InteractionReranker(Reranker):
    """Logits of an `InteractionHead`.

    A passage costs a pass through the bi-encoder's transformer unless it comes with its packed
    states; what is made here is kept, least recently used ones dropped beyond `cache_bytes`.
    Passages are cut to the head's `passage_tokens`, queries to its `query_tokens`. Scores are
    rounded to 0.001, and a score from stored states does not depend on the other passages beyond
    that. States made here have four bits: if another batch changes how the encoder rounds, a number
    may fall on the next of 16 levels, which moves a logit by about 0.01.
    """

    reads: Reads = "states"
    slice_size = 100
    """About two milliseconds with stored states."""

    def __init__(
        self,
        folder: Path,
        base: Path,
        encoder: TokenEncoder,
        *,
        model: str,
        weights_sha256: str,
        cache_bytes: int,
        variant: str = "",
        kept: Path | None = None,
    ) -> None:
        """Load the head from `folder`; `encoder` is the bi-encoder in `base`.

        `kept` is as for `piece_information`. Raises `ModelSourceError`.
        """
        self.model, self.weights_sha256, self.variant = model, weights_sha256, variant
        self._head = InteractionHead.load(folder)
        self._information = piece_information(base, kept)
        self._encoder = encoder
        self._cache: LRUCache[str, bytes] = LRUCache(cache_bytes, len)
        self._lock = threading.Lock()
        self._special_tokens = encoder.prefix_tokens("")
        self._prefix_tokens = encoder.prefix_tokens(self._head.config.query_prefix)

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        """Logits; raises `InferenceError` for a score that is not finite."""
        read: dict[int, _Query] = {}
        for passages in slices:
            with self._lock, torch.inference_mode():
                packed = self._read(passages)
                scores: dict[int, PairScore] = {}
                for window in dict.fromkeys(passage.window for passage in passages):
                    if window not in read:
                        read[window] = self._query(query, window)
                    places = [i for i, passage in enumerate(passages) if passage.window == window]
                    found = self._score(read[window], self._unpacked([packed[i] for i in places]))
                    scores |= dict(zip(places, found, strict=True))
            yield [scores[i] for i in range(len(passages))]

    def matches(
        self, query: EncodedQuery, passages: Sequence[EncodedPassage], /
    ) -> list[TokenMatches]:
        """The matches behind each score, up to its rounding."""
        config, texts = self._head.config, [passage.text for passage in passages]
        with self._lock, torch.inference_mode():
            packed = self._read(passages)
            pieces = self._encoder.pieces([config.passage_prefix + text for text in texts])
            seen = {
                window: (self._query(query, window), self._query_pieces(query, window))
                for window in {passage.window for passage in passages}
            }
            return [
                self._matches(*seen[passage.window], states, found, len(text))
                for passage, states, found, text in zip(
                    passages, packed, pieces, texts, strict=True
                )
            ]

    def _query_pieces(self, query: EncodedQuery, window: int) -> list[Piece]:
        (pieces,) = self._encoder.pieces([self._head.config.query_prefix + query.windows[window]])
        return pieces

    def _matches(
        self, seen: _Query, asked: list[Piece], packed: bytes, pieces: list[Piece], end: int
    ) -> TokenMatches:
        """Of one passage with these pieces, whose text is `end` long."""
        head, config, special = self._head, self._head.config, self._special_tokens
        passage = self._unpacked([packed])
        similar = passage.similarities(seen.vectors, seen.ids, float(head.exact))
        most, scale = similar.shape[1], float(head.scale)
        kept = self._kept(np.array([0] * special + [piece.id for piece in pieces], np.int32))
        places = _spans(pieces, np.flatnonzero(kept)[:most] - special, len(config.passage_prefix))
        # A special token behind the text is in no part of it.
        places += [Span(end + 1, end + 1)] * (most - len(places))
        return TokenMatches(
            _spans(asked, seen.places - special, len(config.query_prefix)),
            places,
            similar,
            scale * float(head.match) * seen.weights,
            scale * float((passage.pooled @ seen.pooled)[0]),
        )

    def layers(self, encoder: EncoderIdentity, /) -> tuple[int, ...]:
        """Those whose states are compared, where the encoder reads texts as the head's base did."""
        config = self._head.config
        alike = (encoder.weights_sha256, encoder.query_prefix, encoder.passage_prefix) == (
            config.base_weights_sha256,
            config.query_prefix,
            config.passage_prefix,
        )
        return config.layers if alike else ()

    def pack(self, texts: Sequence[str], /) -> list[bytes]:
        """Packed states of passages without prefix. Raises `InferenceError`."""
        with torch.inference_mode():
            return [self._packed(seen) for seen in self._encode_passages(texts)]

    def pack_states(self, seen: Sequence[TokenStates], /) -> list[bytes | None]:
        """The same of states of `layers`; None where an encoder cut the passage elsewhere."""
        with torch.inference_mode():
            return [self._packed(s) if self._is_alike(s) else None for s in seen]

    def _is_alike(self, seen: TokenStates) -> bool:
        """Whether neither encoder nor head cut the passage, or both did at one place."""
        most = self._head.config.passage_tokens
        return len(seen.ids) == most if seen.truncated else len(seen.ids) <= most

    def _score(self, seen: _Query, passages: PackedPassages) -> list[PairScore]:
        head = self._head
        exact, match, scale = (float(x) for x in (head.exact, head.match, head.scale))
        scores = passages.pooled @ seen.pooled
        if len(seen.ids):
            scores += match * (seen.weights @ passages.best_matches(seen.vectors, seen.ids, exact))
        scores *= scale
        if not np.isfinite(scores).all():
            raise InferenceError(f"{self.model} gave a score that is not finite")
        return [
            PairScore(round(score, 3), seen.truncated or truncated)
            for score, truncated in zip(scores.tolist(), passages.truncated.tolist(), strict=True)
        ]

    def _query(self, query: EncodedQuery, window: int) -> _Query:
        config = self._head.config
        seen = query.states[window] if query.states else None
        if seen is None or seen.truncated or len(seen.ids) > config.query_tokens:
            text = config.query_prefix + query.windows[window]
            (seen,) = self._encode([text], config.query_tokens)
        states, ids = torch.from_numpy(seen.states), torch.from_numpy(seen.ids).long()
        told = query_information(self._information, ids, self._prefix_tokens)
        weights = self._head.weights(states[None], told[None])[0].numpy()
        # The other tokens come to nothing, whatever they match. What is not a number has to show.
        count = np.flatnonzero(weights != 0.0)
        vectors = self._head.vectors(states[count]).numpy()
        return _Query(vectors, weights[count], seen.ids[count], count, seen.pooled, seen.truncated)

    def _unpacked(self, packed: Sequence[bytes]) -> PackedPassages:
        return PackedPassages.of(packed, self._head.config.dimension, self._head.config.hidden)

    def _read(self, passages: Sequence[EncodedPassage]) -> list[bytes]:
        stored = [self._stored(passage.packed) for passage in passages]
        missing = [p.text for p, kept in zip(passages, stored, strict=True) if kept is None]
        made = self._made(list(dict.fromkeys(missing)))
        return [kept or made[p.text] for p, kept in zip(passages, stored, strict=True)]

    def _stored(self, packed: bytes | None) -> bytes | None:
        """None for what is of no use, which is as good as missing."""
        config = self._head.config
        useful = packed is not None and is_packed(packed, config.dimension, config.hidden)
        return packed if useful else None

    def _made(self, texts: Sequence[str]) -> dict[str, bytes]:
        made = {text: kept for text in texts if (kept := self._cache.get(text))}
        fresh = [text for text in texts if text not in made]
        for text, seen in zip(fresh, self._encode_passages(fresh) if fresh else [], strict=True):
            made[text] = self._packed(seen)
            with suppress(ValueError):  # larger than the whole cache
                self._cache[text] = made[text]
        return made

    def _packed(self, seen: TokenStates) -> bytes:
        kept = self._kept(seen.ids)
        vectors = self._head.vectors(torch.from_numpy(seen.states[kept])).numpy()
        return pack(seen.ids[kept], vectors, seen.pooled, seen.truncated)

    def _kept(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Pieces of a passage that would count in a query, where any would; others match little."""
        told = query_information(
            self._information, torch.from_numpy(ids).long(), self._special_tokens
        )
        counts: NDArray[np.bool_] = (told > COMMON).numpy()
        return counts if counts.any() else np.ones_like(counts)

    def _encode_passages(self, texts: Sequence[str]) -> list[TokenStates]:
        config = self._head.config
        return self._encode([config.passage_prefix + text for text in texts], config.passage_tokens)

    def _encode(self, texts: Sequence[str], window: int) -> list[TokenStates]:
        try:
            return self._encoder.states(texts, window, self._head.config.layers)
        except Exception as error:  # the libraries raise whatever their parts raise
            raise InferenceError(f"{self.model} failed: {type(error).__name__}") from error


def _spans(pieces: Sequence[Piece], places: NDArray[np.int64], prefix: int) -> list[Span]:
    """Where pieces are in the text behind a prefix; what is before it is at its start."""
    found = [pieces[place] if place >= 0 else Piece(0, 0, 0) for place in places.tolist()]
    return [Span(max(0, one.start - prefix), max(0, one.end - prefix)) for one in found]
