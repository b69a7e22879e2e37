"""Time of a rerank against its depth and the length of its passages."""

from collections.abc import Sequence
from typing import Any

from benchmarks.growth.curves import Curve, in_turn
from benchmarks.growth.texts import every_sentence, of_length
from benchmarks.speed.preparation import ENCODER, RERANKER, counter
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.pipeline.build import build_encoder, build_reranker
from service.protocols import Reranker
from service.settings import Settings

DEPTHS = (10, 20, 40, 60, 80, 100)
LENGTHS = (32, 64, 128, 256, 384, 512)
INTERACTION_LENGTHS = (32, 64, 128, 240)
"""It reads no more of a passage than the encoder's window."""

QUERY = "How are documents found that share no word with the query?"
PASSAGE_TOKENS = 150


def depth(rounds: int) -> dict[str, Any]:
    """10 to 100 candidates; expected: as many times the work as candidates."""
    texts = _texts(max(DEPTHS), PASSAGE_TOKENS)
    curves = []
    for name, reranker in _rerankers():
        works = [_work(reranker, texts[:number]) for number in DEPTHS]
        times = in_turn(works, rounds)
        curves.append(Curve(name, "candidates", DEPTHS, tuple(times), 1.0).figures())
    return {"curves": curves, "passage_tokens": PASSAGE_TOKENS}


def length(rounds: int, candidates: int = 20) -> dict[str, Any]:
    """32 to 512 tokens. Expected of the cross-encoder: 1, and some more from attention.

    Of a layer's 12 d^2 + 2 d n multiplications a token (d = 384 wide, n tokens), attention has a
    twelfth at n = 220 and a sixth at 512, so that the exponent stays below 1.2. The interaction
    reranker reads stored states: 1 too, of a smaller time.
    """
    curves = []
    for name, reranker in _rerankers():
        lengths = LENGTHS if name == RERANKER else INTERACTION_LENGTHS
        works = [_work(reranker, _texts(candidates, tokens)) for tokens in lengths]
        times = in_turn(works, rounds)
        curves.append(Curve(name, "tokens of a passage", lengths, tuple(times), 1.0).figures())
    return {"curves": curves, "candidates": candidates}


def _rerankers() -> list[tuple[str, Reranker]]:
    encoder = build_encoder(Settings(encoder=ENCODER, hub_offline=True))
    found = []
    for name in (RERANKER, "interaction-v1"):
        reranker = build_reranker(Settings(reranker=name, hub_offline=True), encoder)
        if reranker is not None:
            found.append((name, reranker))
    return found


def _work(reranker: Reranker, texts: Sequence[str]) -> Any:
    pairs = [(QUERY, text) for text in texts]
    return lambda: reranker.score(pairs)


def _texts(number: int, tokens: int) -> list[str]:
    folder = prepare(
        RERANKER, REGISTRY[RERANKER].kind, cache_dir=Settings().cache_dir, offline=True
    ).folder
    return of_length(_pool(), number, tokens, counter(folder))


_POOL: list[str] = []


def _pool() -> list[str]:
    if not _POOL:
        _POOL.extend(every_sentence())
    return _POOL
