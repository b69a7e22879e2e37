"""Start rows for a static embedding: what a trained encoder says of each piece by itself."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from tokenizers import Tokenizer

from service.training.vocabulary import WORD

_BATCH = 2000

Vectors = NDArray[np.float32]


def piece_shares(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float64]:
    """Of all tokens of the texts, the share of each piece; (pieces,), sums to 1.

    A piece that occurs nowhere counts as if it occurred half a time.
    """
    counts = np.full(tokenizer.get_vocab_size(), 0.5)
    for start in range(0, len(texts), _BATCH):
        encoded = tokenizer.encode_batch_fast(texts[start : start + _BATCH])
        ids = np.array([token for found in encoded for token in found.ids], np.int64)
        counts += np.bincount(ids, minlength=len(counts))
    counts /= counts.sum()
    return counts


def start_rows(
    pieces: Vectors, shares: NDArray[np.float64], dimension: int, *, sif: float, seed: int
) -> torch.Tensor:
    """Unit vectors of the pieces, (n, d) -> rows (n, dimension), float32.

    The vectors are centred and turned to their principal axes, largest first, so that the first
    dimensions hold most: what Matryoshka vectors need. Rows wider than d are filled up with random
    directions, which tell pieces of like meaning apart. A row's length is weighted by
    sif / (sif + share), as frequent pieces say little. The mean square of a weight is then 1.

    Sources: Arora et al., "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", ICLR 2017
    (the weights); Tulkens and van Dongen, "Model2Vec", 2024 (static rows from an encoder).
    """
    kept = min(dimension, *pieces.shape)
    turned = PCA(kept, svd_solver="covariance_eigh").fit_transform(pieces.astype(np.float64))
    rows = np.zeros((len(pieces), dimension))
    rows[:, :kept] = turned
    if dimension > kept:
        # As strong, dimension by dimension, as the axes beside them.
        scale = turned[:, -(kept // 4) :].std()
        noise = np.random.default_rng(seed).standard_normal((len(pieces), dimension - kept))
        rows[:, kept:] = scale * noise
    rows *= (sif / (sif + shares))[:, None]
    rows /= np.sqrt(np.mean(rows**2))
    return torch.from_numpy(rows.astype(np.float32))


def encode_pieces(
    tokenizer: Tokenizer, encode: Callable[[Sequence[str]], Vectors], prefix: str
) -> Vectors:
    """The encoder's unit vector of each piece as a text without its mark, (pieces, d), by id."""
    numbered = tokenizer.get_vocab()
    pieces = sorted(numbered, key=numbered.__getitem__)
    texts = [piece.replace(WORD, " ").strip() or " " for piece in pieces]
    distinct, places = np.unique(np.array(texts, object), return_inverse=True)
    return encode([prefix + text for text in distinct])[places]
