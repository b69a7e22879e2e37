"""A Unigram vocabulary of one's own, for static embeddings."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

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
