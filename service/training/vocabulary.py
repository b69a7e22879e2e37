"""A Unigram vocabulary of one's own, for static embeddings."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from service.encoder.sse import UNKNOWN

MAX_PIECE = 16
"""Characters of the longest piece."""

_WORD = "▁"
"""How the base marks a word's beginning."""
_DIGITS = 5
"""Scores are logarithms of probabilities; more digits change no segmentation that matters."""


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    base_scores: Mapping[str, float],
    *,
    base_share: float = 0.2,
) -> Tokenizer:
    """A tokenizer of `size` pieces, fewer where the texts have too few; the first is `<unk>`.

    A Unigram model of `1 - base_share` of the pieces is trained on `texts`; the likeliest pieces of
    another one, `base_scores` (piece -> log probability), fill up the rest. So the vocabulary is
    the texts' own, and what they lack, other languages above all, still has its commonest pieces.
    A piece's probability is that of the two models mixed in the same shares. Texts and pieces are
    brought to NFKC and lower case. Equal texts give equal pieces, but scores that may differ in
    the last digits: the trainer adds numbers up in no fixed order.

    Source of the model: Kudo, "Subword Regularization", ACL 2018.
    """
    base = _normalized(base_scores)
    if not base:
        base_share = 0.0
    trained = _trained(texts, size - 1 - round(base_share * size))
    others = sorted(base.keys() - trained.keys(), key=lambda piece: (-base[piece], piece))
    kept = [*trained, *others[: size - 1 - len(trained)]]
    mixed = {
        piece: (1 - base_share) * trained.get(piece, 0.0) + base_share * base.get(piece, 0.0)
        for piece in kept
    }
    kept.sort(key=lambda piece: (-mixed[piece], piece))
    pieces = [(UNKNOWN, 0.0)]
    pieces += [(piece, round(math.log(mixed[piece]), _DIGITS)) for piece in kept]
    return _tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))


def _trained(texts: Iterable[str], size: int) -> dict[str, float]:
    tokenizer = _tokenizer(models.Unigram())
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


def _normalized(scores: Mapping[str, float]) -> dict[str, float]:
    """Probabilities under the new tokenizer's spelling; pieces that become one share theirs."""
    normalizer = _normalizer()
    probabilities: dict[str, float] = {}
    for piece, score in scores.items():
        spelled = normalizer.normalize_str(piece.replace(_WORD, ""))
        if spelled and len(spelled) <= MAX_PIECE and " " not in spelled:
            probabilities[spelled] = probabilities.get(spelled, 0.0) + math.exp(score)
    total = math.fsum(probabilities.values()) or 1.0
    return {piece: value / total for piece, value in probabilities.items()}


def _normalizer() -> Any:
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


def _tokenizer(model: Any) -> Tokenizer:
    """No sign marks where a word begins: `▁` by itself would be the likeliest piece of all.

    Beside Japanese and Korean, whose words begin with anything, it is so common that training
    splits it off every word; and a piece means nearly the same within a word and at its beginning.
    """
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(),
        ]
    )
    return tokenizer
