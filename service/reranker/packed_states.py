"""A passage's token states as they are stored: projected, four bits a number.

A rotation spreads a vector evenly over its numbers, so four bits suffice for each of them. A
token's scale makes the product with its own vector exact, as in Gao and Long, "RaBitQ" (SIGMOD
2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from service.types import Vectors

_HALF = 8
"""Levels below 0, and above."""
_STEP = 0.335
"""Between two levels, in standard deviations: the least error for normally distributed numbers."""
_QUERY_STEPS = 63
"""Seven bits: with eight, a CPU without VNNI would clip the sum of two products."""
_POOLED_STEPS = 127


def pack(
    ids: NDArray[np.int32], vectors: Vectors, pooled: NDArray[np.float32], truncated: bool
) -> bytes:
    """The states of a passage: its pieces' ids (n,), their unit vectors (n, dimension), and the
    bi-encoder's own vector (hidden,). `truncated`: the passage was longer than the head reads."""
    turned = _turned(vectors)
    dimension = turned.shape[1]
    # A vector that is not a number must show. It does in the scale.
    steps = np.floor(np.nan_to_num(turned) * (np.sqrt(dimension) / _STEP)).clip(-_HALF, _HALF - 1)
    along = (turned * (steps + 0.5)).sum(axis=1)
    codes = (steps + _HALF).astype(np.uint8)
    greatest = float(np.abs(pooled).max(initial=1e-6))
    head = np.zeros(1, _head_type(len(pooled)))
    head["tokens"], head["truncated"], head["scale"] = len(ids), truncated, greatest / _POOLED_STEPS
    head["pooled"] = np.rint(np.nan_to_num(pooled * (_POOLED_STEPS / greatest)))
    tokens = np.empty(len(ids), _token_type(dimension))
    tokens["codes"] = codes[:, : dimension // 2] | codes[:, dimension // 2 :] << np.uint8(4)
    tokens["scale"] = np.square(turned).sum(axis=1) / np.maximum(along, 1e-6)
    tokens["id"] = _short(ids)
    return head.tobytes() + tokens.tobytes()


def is_packed(data: bytes, dimension: int, hidden: int) -> bool:
    """Whether this may be what `pack` gave for such vectors."""
    tokens = int.from_bytes(data[:2], "little")
    size = _head_type(hidden).itemsize + tokens * _token_type(_even(dimension)).itemsize
    return tokens > 0 and len(data) == size


@dataclass(frozen=True, slots=True)
class PackedPassages:
    """What an interaction head needs of some passages. Their tokens follow without padding.

    `pooled` float32 (passages, hidden), `truncated` (passages,), `starts` (passages,): the place of
    each passage's first token. `tokens` has each token's `codes`, two numbers a byte, its `scale`
    and the low 16 bits of its piece's `id`.
    """

    pooled: NDArray[np.float32]
    truncated: NDArray[np.bool_]
    starts: NDArray[np.int64]
    tokens: NDArray[np.void]

    @classmethod
    def of(cls, packed: Sequence[bytes], dimension: int, hidden: int) -> Self:
        """Read what `is_packed` accepts."""
        head = _head_type(hidden)
        size = head.itemsize
        heads = np.frombuffer(b"".join([data[:size] for data in packed]), head)
        tokens = b"".join([data[size:] for data in packed])
        counts = heads["tokens"].astype(np.int64)
        return cls(
            heads["pooled"] * heads["scale"][:, None],
            heads["truncated"],
            np.cumsum(counts) - counts,
            np.frombuffer(tokens, _token_type(_even(dimension))),
        )

    def best_matches(
        self, query: Vectors, ids: NDArray[np.int32], exact: float
    ) -> NDArray[np.float32]:
        """Of each query token, its best match in each passage: float32 (query tokens, passages)."""
        similar = self.similarities(query, ids, exact)
        best: NDArray[np.float32] = np.maximum.reduceat(similar, self.starts, axis=1)
        return best

    def similarities(
        self, query: Vectors, ids: NDArray[np.int32], exact: float
    ) -> NDArray[np.float32]:
        """How each query token matches each token: float32 (query tokens, tokens).

        `query` (tokens, dimension) and its pieces' `ids`; where two pieces are the same, `exact`
        comes to their inner product. No match depends on the other passages.
        """
        turned = _turned(query)
        steps = np.abs(turned).max(axis=1, initial=1e-6) / _QUERY_STEPS
        rounded = np.rint(np.nan_to_num(turned / steps[:, None])).astype(np.int8)
        # PyTorch's only product of integers on a CPU; others need a copy in float32.
        products = torch._int_mm(torch.from_numpy(rounded), self._levels().T).numpy()
        similar: NDArray[np.float32] = products.astype(np.float32)
        similar -= (_HALF - 0.5) * rounded.sum(axis=1, dtype=np.float32)[:, None]
        similar *= self.tokens["scale"].astype(np.float32)
        similar *= steps[:, None]
        similar += np.float32(exact) * (_short(ids)[:, None] == self.tokens["id"].copy())
        return similar

    def _levels(self) -> torch.Tensor:
        """From 0 to 15, int8 (tokens, dimension)."""
        codes = torch.from_numpy(self.tokens["codes"].copy())
        half = codes.shape[1]
        levels = torch.empty((len(codes), 2 * half), dtype=torch.uint8)
        torch.bitwise_and(codes, 15, out=levels[:, :half])
        torch.bitwise_right_shift(codes, 4, out=levels[:, half:])
        return levels.view(torch.int8)


def _short(ids: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Two of 250,000 pieces hardly ever share these bits."""
    return (ids & 0xFFFF).astype(np.uint16)


def _even(dimension: int) -> int:
    return dimension + dimension % 2


@cache
def _head_type(hidden: int) -> np.dtype[np.void]:
    fields = [("tokens", "<u2"), ("truncated", "?"), ("", "u1"), ("scale", "<f4")]
    return np.dtype([*fields, ("pooled", "i1", (hidden,))])


@cache
def _token_type(dimension: int) -> np.dtype[np.void]:
    return np.dtype([("codes", "u1", (dimension // 2,)), ("scale", "<f2"), ("id", "<u2")])


def _turned(vectors: Vectors) -> Vectors:
    turned: Vectors = vectors @ _rotation(vectors.shape[1])
    return turned


@cache
def _rotation(dimension: int) -> NDArray[np.float32]:
    """The orthonormal discrete cosine transform, to an even number of columns."""
    size = _even(dimension)
    places = np.arange(size)
    turn = np.sqrt(2 / size) * np.cos(np.pi / size * places[:, None] * (places + 0.5))
    turn[0] /= np.sqrt(2)
    rotation: NDArray[np.float32] = turn[:, :dimension].T.astype(np.float32)
    return rotation
