"""Contracts between the stages."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

from service.types import (
    Candidate,
    EncoderIdentity,
    Ids,
    PairScore,
    PassageMemory,
    TokenStates,
    Vectors,
)


class Encoder(Protocol):
    """Turns texts into unit vectors; adds the model's own prefix to each."""

    @property
    def identity(self) -> EncoderIdentity: ...

    @property
    def static(self) -> bool:
        """Whether a token costs it no more than to look up its row."""
        ...

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """Cleaned texts without prefix -> float32 (n, dim), rows of unit length, input order."""
        ...

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """The same for passages."""
        ...

    @property
    def query_budget(self) -> int:
        """Tokens of text that fit the window beside the query prefix and the special tokens."""
        ...

    @property
    def passage_budget(self) -> int:
        """The same for passages."""
        ...

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """Tokens of each text alone: no prefix, no special tokens, nothing cut."""
        ...


class TokenEncoder(Protocol):
    """Gives what a transformer makes of each token of a text. Any thread may call it."""

    def states(
        self, texts: Sequence[str], /, window: int, layers: Sequence[int]
    ) -> list[TokenStates]:
        """Of texts that have their prefix, cut to `window` tokens, in input order."""
        ...

    def prefix_tokens(self, prefix: str) -> int:
        """Tokens before the text in `prefix + text`: special ones, and the prefix's own."""
        ...


class StateEncoder(Encoder, Protocol):
    """An encoder that can give token states beside the vectors."""

    def encode_passages_and_states(
        self, texts: Sequence[str], /, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        """As `encode_passages`, with the states of these layers."""
        ...

    def encode_queries_and_states(
        self, texts: Sequence[str], /, layers: Sequence[int]
    ) -> tuple[Vectors, list[TokenStates]]:
        """As `encode_queries`, with the states of these layers."""
        ...


class VectorIndex(Protocol):
    """Passages and their unit vectors, never changed; nearest neighbours by inner product."""

    @property
    def kind(self) -> str:
        """`flat` answers exactly; any other name is approximate."""
        ...

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        ...

    @property
    def last_passage(self) -> int:
        """The greatest passage id that it was built from; 0 if there was none."""
        ...

    @property
    def built_size(self) -> int:
        """Passages that it was built from, including those that `without` removed."""
        ...

    def __len__(self) -> int:
        """Passages that can be found."""
        ...

    def search(self, vectors: Vectors, k: int, allowed: Ids | None = None) -> list[list[Candidate]]:
        """Per row of `vectors` at most `k` candidates in the order (-score, passage id)."""
        ...

    def without(self, removed: Ids) -> Self:
        """The same index in which these passages are no longer found."""
        ...


class Reranker(Protocol):
    """Scores (query, passage) pairs."""

    @property
    def model(self) -> str: ...

    @property
    def weights_sha256(self) -> str: ...

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        """Logits in input order, all finite. Raises `InferenceError` otherwise."""
        ...


@runtime_checkable
class PackingReranker(Protocol):
    """A reranker that reads of a passage what can be made and kept beforehand, packed in bytes."""

    @property
    def model(self) -> str: ...

    @property
    def weights_sha256(self) -> str: ...

    def score(
        self, pairs: Sequence[tuple[str, str]], /, memory: PassageMemory | None = None
    ) -> list[PairScore]:
        """As `Reranker.score`; `memory` gives what is kept of passages that it has."""
        ...

    def pack_texts(self, texts: Sequence[str]) -> list[bytes]:
        """What a memory is to keep of passages without prefix. Raises `InferenceError`."""
        ...


@runtime_checkable
class StateReranker(PackingReranker, Protocol):
    """A reranker that reads a passage's token states, which an encoder may give with its vector."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Of the bi-encoder, those whose states it reads."""
        ...

    def reads(self, encoder: EncoderIdentity) -> bool:
        """Whether the states that this encoder gives are what it reads."""
        ...

    @property
    def passage_tokens(self) -> int:
        """Tokens that it reads of a passage, prefix and special ones counted."""
        ...

    def see_queries(self, queries: Mapping[str, TokenStates]) -> None:
        """States of queries that will be scored soon, by their text without prefix."""
        ...

    def pack(self, seen: Sequence[TokenStates]) -> list[bytes]:
        """States as a memory is to keep them."""
        ...
