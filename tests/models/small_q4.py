"""A whole E5S1 file of a few kilobytes."""

import struct

import numpy as np

from service.models.q4 import BLOCK_DTYPE, FLOAT32, Q4_0

HIDDEN, POSITIONS = 32, 4
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "é"]
MATRICES = {"q": 1, "k": 1, "v": 1, "ao": 1, "fi": 2, "fo": 2}


def small_file() -> bytes:
    """A whole E5S1 file: one layer, hidden size 32, intermediate size 64."""
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, HIDDEN, 1, 2, 64, len(PIECES), POSITIONS, 2, 1e-12, 32
    )
    texts = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, texts)])
    unigram = struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, offsets[-1])
    unigram += offsets.astype("<u4").tobytes() + np.arange(len(PIECES), dtype="<f4").tobytes()
    unigram += b"".join(texts)
    unigram += struct.pack("<iI", 2, 0) + struct.pack("<IBI", 9, 1, 32) + struct.pack("<IB", 7, 0)
    tensors = {"emb.word": len(PIECES), "emb.pos": POSITIONS, "emb.type": 2}
    counts = {name: rows * HIDDEN for name, rows in tensors.items()}
    counts |= {"emb.ln.w": HIDDEN, "emb.ln.b": HIDDEN}
    for part, size in {**MATRICES, "aln": 0, "oln": 0}.items():
        counts[f"l0.{part}.w"] = size * HIDDEN**2 or HIDDEN
        counts[f"l0.{part}.b"] = 64 if part == "fi" else HIDDEN
    return head + unigram + _directory(counts, len(head + unigram))


def _directory(counts: dict[str, int], start: int) -> bytes:
    size = 4 + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in counts)
    directory, data = struct.pack("<i", len(counts)), b""
    for name, count in counts.items():
        is_matrix = name.endswith(".w") and count > HIDDEN
        packed = _blocks(count // 32) if is_matrix else np.ones(count, "<f4").tobytes()
        kind = Q4_0 if is_matrix else FLOAT32
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, count, start + size + len(data), len(packed))
        data += packed
    return directory + data


def _blocks(n: int) -> bytes:
    blocks = np.zeros(n, BLOCK_DTYPE)
    blocks["scale"], blocks["nibbles"] = 0.5, 0xF0
    return blocks.tobytes()
