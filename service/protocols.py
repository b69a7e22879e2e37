"""Contracts between the stages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, Self

import numpy as np

from service.errors import InferenceError
from service.types import (
    Candidate,
    EncodedPassage,
    EncodedQuery,
    EncoderIdentity,
    Ids,
    PairScore,
    Piece,
    Reads,
    TokenMatches,
    TokenStates,
    Vectors,
)


class Encoder(Protocol):
    """Turns texts into unit vectors; adds the model's own prefix to each."""

    @property
    def identity(self) -> EncoderIdentity: ...

    @property
    def backends(self) -> Mapping[str, str]:
        """What runs it for `queries` and for `passages`, where there is a choice."""

    @property
    def static(self) -> bool:
        """Whether a token costs it no more than to look up its row."""

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """Cleaned texts without prefix -> float32 (n, dim), rows of unit length, input order."""

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """The same for passages."""

    def encode_queries_and_states(
        self, texts: Sequence[str], /, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        """As `encode_queries`, with the states of layers that a `Reranker` names for it."""

    def encode_passages_and_states(
        self, texts: Sequence[str], /, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        """As `encode_passages`, with the states of such layers."""

    @property
    def query_budget(self) -> int:
        """Tokens of text that fit the window beside the query prefix and the special tokens."""

    @property
    def passage_budget(self) -> int:
        """The same for passages."""

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text alone: no prefix, no special tokens, nothing cut."""

    def pieces(self, texts: Sequence[str], /) -> list[list[Piece]]:
        """The tokens that `count_tokens` counts. Raises `NotAvailableError` if none are known."""

    def twin(self, work: str, /) -> "Encoder":
        """One with the same vectors whose calls do not wait for this one's, for a kind of work.

        Encoders over the same weights may share what the same work needs.
        """


class TokenEncoder(Protocol):
    """Gives what a transformer makes of each token of a text. Any thread may call it."""

    def states(
        self, texts: Sequence[str], /, window: int, layers: Sequence[int]
    ) -> list[TokenStates]:
        """Of texts that have their prefix, cut to `window` tokens, in input order."""

    def pieces(self, texts: Sequence[str], /) -> list[list[Piece]]:
        """The tokens of each text: no special tokens, nothing cut."""

    def prefix_tokens(self, prefix: str) -> int:
        """Tokens before the text in `prefix + text`: special ones, and the prefix's own."""


class VectorIndex(Protocol):
    """Passages and their unit vectors, never changed; nearest neighbours by inner product."""

    @property
    def kind(self) -> str:
        """`flat` answers exactly; any other name is approximate."""

    @property
    def dimension(self) -> int:
        """Length of each vector."""

    @property
    def last_passage(self) -> int:
        """The greatest passage id that it was built from; 0 if there was none."""

    @property
    def built_size(self) -> int:
        """Passages that it was built from, including those that `without` removed."""

    def __len__(self) -> int:
        """Passages that can be found."""

    def search(self, vectors: Vectors, k: int, allowed: Ids | None = None) -> list[list[Candidate]]:
        """Per row of `vectors` at most `k` candidates in the order (-score, passage id).

        Scores are inner products. `allowed` narrows before the best `k` are taken; it may have
        unknown ids. Rows do not influence each other. Raises `InferenceError` unless finite.
        """

    def without(self, removed: Ids) -> Self:
        """The same index in which these passages are no longer found."""


class Reranker(Protocol):
    """Scores passages for a query. Subclass it: the defaults are those of one that reads texts.

    A score depends on the query and the passage alone, not on what is scored with them.
    """

    model: str
    weights_sha256: str
    variant: str = ""
    """What decides a score beside the weights."""
    reads: Reads = "texts"
    slice_size: int = 10
    """How many passages it scores between two looks at the clock, at most."""
    concurrent: bool = False
    """Whether several slices may be scored at a time."""

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        """The scores of each slice, finite, in the order of its passages; a slice is read late.

        Raises `InferenceError`, and `UnprocessableTextError` for a query that is too long.
        """

    def score_pairs(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        """Scores of (query, passage) texts in their order; raises as `score`."""
        if not pairs:
            return []
        places = {query: at for at, query in enumerate(dict.fromkeys(q for q, _ in pairs))}
        queries = EncodedQuery(tuple(places), np.empty((0, 0), np.float32), 0)
        passages = [EncodedPassage(text, window=places[query]) for query, text in pairs]
        return next(iter(self.score(queries, [passages])))

    def matches(
        self, _query: EncodedQuery, _passages: Sequence[EncodedPassage], /
    ) -> list[TokenMatches] | None:
        """How each passage's score comes about, token by token; None if it cannot tell."""
        return None

    def pack(self, texts: Sequence[str], /) -> list[bytes]:
        """What is to be stored of passages, where it `reads` more than texts."""
        raise InferenceError(
            f"{self.model} reads texts alone, so {len(texts)} texts cannot be packed"
        )

    def layers(self, _encoder: EncoderIdentity, /) -> tuple[int, ...]:
        """The layers of this encoder whose token states it reads; none for another encoder."""
        return ()

    def pack_states(self, seen: Sequence[TokenStates], /) -> list[bytes | None]:
        """As `pack`, of what the encoder read; None where this would have read another part."""
        return [None] * len(seen)
