"""What the stages are to each other: the fewest methods that work."""

from collections.abc import Sequence
from typing import Protocol

from service.types import Candidate, EncoderIdentity, Ids, PairScore, Vectors


class Encoder(Protocol):
    """Turns texts into unit vectors; adds the model's own prefix to each."""

    @property
    def identity(self) -> EncoderIdentity: ...

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


class VectorIndex(Protocol):
    """Nearest neighbours by inner product; higher is better."""

    def __len__(self) -> int: ...

    def search(self, vectors: Vectors, k: int, allowed: Ids | None = None) -> list[list[Candidate]]:
        """Per row of `vectors` at most `k` candidates in the order (-score, passage id)."""
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
