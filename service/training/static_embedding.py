"""What a static embedding starts from: a Unigram vocabulary, start rows, pairs of passages."""

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from service.encoder.sse import UNKNOWN

MAX_PIECE = 16
"""Characters of the longest piece."""

WORD = "▁"
"""Marks where a word begins."""

_DIGITS = 5
"""Scores are logarithms of probabilities; more digits change no segmentation that matters."""


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    base_scores: Mapping[str, float],
    *,
    base_share: float = 0.2,
    word_marks: bool = True,
) -> Tokenizer:
    """A tokenizer of `size` pieces, fewer where the texts have too few; the first is `<unk>`.

    A Unigram model of `1 - base_share` of the pieces is trained on `texts`; the likeliest pieces of
    another one, `base_scores` (piece -> log probability), fill up the rest. So the vocabulary is
    the texts' own, and what they lack, other languages above all, still has its commonest pieces.
    A piece's probability is that of the two models mixed in the same shares. Texts and pieces are
    brought to NFKC and lower case. Equal texts give equal pieces, but scores that may differ in
    the last digits: the trainer adds numbers up in no fixed order.

    With `word_marks` a word's first piece begins with `▁`. Beside languages whose words begin with
    anything, as Korean, or have no borders, as Japanese, the mark alone is so common that training
    splits it off many a word; without marks a piece is the same anywhere in a word.

    Source of the model: Kudo, "Subword Regularization", ACL 2018.
    """
    base = _normalized(base_scores, word_marks)
    if not base:
        base_share = 0.0
    trained = _trained(texts, size - 1 - round(base_share * size), word_marks)
    others = sorted(base.keys() - trained.keys(), key=lambda piece: (-base[piece], piece))
    kept = [*trained, *others[: size - 1 - len(trained)]]
    mixed = {
        piece: (1 - base_share) * trained.get(piece, 0.0) + base_share * base.get(piece, 0.0)
        for piece in kept
    }
    kept.sort(key=lambda piece: (-mixed[piece], piece))
    pieces = [(UNKNOWN, 0.0)]
    pieces += [(piece, round(math.log(mixed[piece]), _DIGITS)) for piece in kept]
    return _tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False), word_marks)


def _trained(texts: Iterable[str], size: int, word_marks: bool) -> dict[str, float]:
    tokenizer = _tokenizer(models.Unigram(), word_marks)
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        max_piece_length=MAX_PIECE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    return {piece: math.exp(score) for piece, score in pieces if piece != UNKNOWN}


def _normalized(scores: Mapping[str, float], word_marks: bool) -> dict[str, float]:
    """Probabilities under the new tokenizer's spelling; pieces that become one share theirs."""
    normalizer = _normalizer()
    probabilities: dict[str, float] = {}
    for piece, score in scores.items():
        spelled = normalizer.normalize_str(piece if word_marks else piece.replace(WORD, ""))
        if spelled.strip(WORD) and len(spelled) <= MAX_PIECE and " " not in spelled:
            probabilities[spelled] = probabilities.get(spelled, 0.0) + math.exp(score)
    total = math.fsum(probabilities.values()) or 1.0
    return {piece: value / total for piece, value in probabilities.items()}


def _normalizer() -> Any:
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


def _tokenizer(model: Any, word_marks: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = _normalizer()
    # No piece spans words, nor a word and its punctuation.
    split, punctuation = pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()
    if word_marks:
        marks = pre_tokenizers.Metaspace(replacement=WORD, prepend_scheme="always")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, marks, punctuation])
        tokenizer.decoder = decoders.Metaspace(replacement=WORD)
    else:
        digits = pre_tokenizers.Digits()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, punctuation, digits])
    return tokenizer


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


_SHORTEST_REST = 40
"""Characters; less says too little to be found by."""


def inverse_cloze(text: str, rng: random.Random) -> tuple[str, str] | None:
    """A window of 20 to 120 characters and the text around it, or None for a short text.

    Borders are moved to white space where there is some near. Method: Lee, Chang and Toutanova,
    "Latent Retrieval for Weakly Supervised Open Domain Question Answering", ACL 2019.
    """
    length = min(int(20 * 6 ** rng.random()), len(text) // 3)
    if len(text) - length < _SHORTEST_REST or length < 10:
        return None
    start = _border(text, rng.randrange(len(text) - length))
    end = _border(text, start + length)
    query, rest = text[start:end].strip(), f"{text[:start]} {text[end:]}".strip()
    return (query, rest) if query and rest else None


def crop(text: str, rng: random.Random, *, longest: int) -> str:
    """A window of the text of 100 to `longest` characters; the text itself where it is shorter."""
    length = rng.randint(100, longest)
    if len(text) <= length:
        return text
    start = _border(text, rng.randrange(len(text) - length + 1))
    return text[start : start + length].strip() or text[:length]


def _border(text: str, near: int) -> int:
    """After the next white space within 15 characters, or the very place."""
    space = text.find(" ", near, near + 15)
    return near if space < 0 else space + 1
