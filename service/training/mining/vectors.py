"""Vectors on the disk, so that an interrupted mining goes on where it stopped."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from service.durable import explained, make_parents, new_file
from service.training.mining.rankings import Encode
from service.types import Vectors

TEXTS_A_FILE = 512
"""What a kill can cost, at most."""

OnProgress = Callable[[int], None]


def kept(
    encode: Encode, folder: Path, encoder: str, on_progress: OnProgress = lambda _done: None
) -> Encode:
    """The same encoder, which keeps its vectors under `folder` and encodes no text list twice.

    They lie in a folder named by the hash of the texts and of `encoder`, which must name all that
    decides a vector: model, prefix, and whether queries or passages are encoded. `on_progress`
    hears of the texts done so far. Raises `StoreError` where the folder cannot be used.
    """

    def encode_or_read(texts: Sequence[str]) -> Vectors:
        parts, done = folder / _key(texts, encoder), []
        with explained(f"vectors cannot be kept in {folder}"):
            for start in range(0, len(texts), TEXTS_A_FILE):
                some = texts[start : start + TEXTS_A_FILE]
                done.append(_read_or_write(parts / f"{start:09d}.npy", encode, some))
                on_progress(start + len(some))
        return np.concatenate(done)

    return encode_or_read


def _read_or_write(path: Path, encode: Encode, texts: Sequence[str]) -> Vectors:
    if path.exists():
        try:
            vectors: Vectors = np.load(path, allow_pickle=False)
        except (ValueError, EOFError):
            pass  # a disk that lost a file's content: encoded again
        else:
            if len(vectors) == len(texts):
                return vectors
    vectors = encode(texts)
    make_parents(path)
    with new_file(path) as file:
        np.save(file, vectors)
    return vectors


def _key(texts: Sequence[str], encoder: str) -> str:
    digest = hashlib.sha256(encoder.encode())
    for text in texts:
        # Lengths keep two lists apart that are alike once they are joined.
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:32]
