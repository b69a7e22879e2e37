"""A passage's token states as they are kept: projected, eight bits a number."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.types import Vectors

_HEADER = struct.Struct("<HHH?")
_STEPS = 127


@dataclass(frozen=True, slots=True)
class PackedStates:
    """What an interaction head needs of one passage of n tokens.

    `ids` int32 (n,): its pieces. A token's vector is `scales[i] * vectors[i]`: float16 (n,) and
    int8 (n, dimension). `pooled` float16 (hidden,): the bi-encoder's own vector. `truncated`: the
    passage was longer than the head reads.
    """

    ids: NDArray[np.int32]
    scales: NDArray[np.float16]
    vectors: NDArray[np.int8]
    pooled: NDArray[np.float16]
    truncated: bool

    @classmethod
    def pack(
        cls, ids: NDArray[np.int32], vectors: Vectors, pooled: NDArray[np.float32], truncated: bool
    ) -> Self:
        """Round to the nearest of 255 steps between a vector's greatest number and its negative."""
        greatest = np.abs(vectors).max(axis=1, initial=1e-6)
        scales = (greatest / _STEPS).astype(np.float16)
        steps = np.rint(vectors / scales.astype(np.float32)[:, None]).clip(-_STEPS, _STEPS)
        return cls(ids, scales, steps.astype(np.int8), pooled.astype(np.float16), truncated)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.ids.nbytes + self.scales.nbytes + self.vectors.nbytes + self.pooled.nbytes

    def part(self, start: int, end: int) -> Self:
        """Some of the tokens, with the whole passage's own vector."""
        tokens = slice(start, max(start, end))
        return replace(
            self, ids=self.ids[tokens], scales=self.scales[tokens], vectors=self.vectors[tokens]
        )

    def to_bytes(self) -> bytes:
        """All of it; little-endian, as every machine is that this runs on."""
        tokens, dimension = self.vectors.shape
        header = _HEADER.pack(tokens, dimension, len(self.pooled), self.truncated)
        parts = (self.ids, self.scales, self.vectors, self.pooled)
        return header + b"".join(part.tobytes() for part in parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave; copies nothing. Raises `ValueError` for anything else."""
        try:
            tokens, dimension, hidden, truncated = _HEADER.unpack_from(data)
        except struct.error as error:
            raise ValueError("no packed states") from error
        at = _HEADER.size
        if len(data) != at + tokens * (4 + 2 + dimension) + 2 * hidden:
            raise ValueError("packed states of another size")
        ids = np.frombuffer(data, np.int32, tokens, at)
        scales = np.frombuffer(data, np.float16, tokens, at := at + 4 * tokens)
        vectors = np.frombuffer(data, np.int8, tokens * dimension, at := at + 2 * tokens)
        pooled = np.frombuffer(data, np.float16, hidden, at + tokens * dimension)
        return cls(ids, scales, vectors.reshape(tokens, dimension), pooled, truncated)


def best_matches(
    query: Vectors, ids: NDArray[np.int32], exact: float, passages: Sequence[PackedStates]
) -> NDArray[np.float32]:
    """Of each query token, its best match in each passage: float32 (passages, query tokens).

    `query` (tokens, dimension) and its pieces' `ids`; where two pieces are the same, `exact` comes
    to their inner product. Passages stand one behind another, so nothing is padded.
    """
    tokens = np.concatenate([p.vectors for p in passages]).astype(np.float32)
    scales = np.concatenate([p.scales for p in passages]).astype(np.float32)
    pieces = np.concatenate([p.ids for p in passages])
    similar = query @ tokens.T
    similar *= scales
    similar += exact * (ids[:, None] == pieces)
    starts = np.cumsum([0, *(len(p.ids) for p in passages[:-1])])
    best: NDArray[np.float32] = np.maximum.reduceat(similar, starts, axis=1).T
    return best
