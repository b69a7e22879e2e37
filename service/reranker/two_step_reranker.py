"""The reranker whose first layers choose what all of its layers read."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from service.errors import ModelSourceError
from service.reranker.cross_encoder import CrossEncoderReranker, Pair
from service.reranker.early_head import load_head
from service.reranker.forward import Classifier
from service.reranker.score_cache import ScoreCache
from service.reranker.two_steps import TwoStepForward, one_scale
from service.types import PairScore, PassageMemory

_BEGUN_AT_ONCE = 25
"""Pairs that go through the first layers between two looks at the clock."""

_FINISHED_AT_ONCE = 10
"""Pairs that go through the other layers between two looks at the clock."""


class TwoStepReranker(CrossEncoderReranker):
    """Implements `service.protocols.WholeReranker`.

    All passages of a query go through the layers below the early head. The `keep` best by its
    logits go on through the others from the states they have, and have the scores of a
    `CrossEncoderReranker`; `one_scale` gives the others theirs, below. Among equal early logits the
    passage's text decides, so that the scores are those of the set of pairs, in whatever order.
    Other than there a score depends on which passages are scored together.
    """

    _forward: TwoStepForward

    def __init__(self, folder: Path, *, keep: int, **options: Any) -> None:
        """As a `CrossEncoderReranker` with a backend in torch; `keep` is of each query, at least 1.

        Raises `ModelSourceError` for a model without an early head too.
        """
        super().__init__(folder, **options)
        self._keep = keep
        self._early = ScoreCache(self._options.score_cache)

    def score(
        self, pairs: Sequence[Pair], /, memory: PassageMemory | None = None
    ) -> list[PairScore]:
        """Scores of (query, passage) pairs in input order, all finite.

        Raises as `CrossEncoderReranker.score`.
        """
        scores: list[PairScore] = []
        for scores, _last in self.steps(pairs, memory):  # noqa: B007 - the last counts
            pass
        return scores

    def steps(
        self, pairs: Sequence[Pair], /, memory: PassageMemory | None = None
    ) -> Iterator[tuple[list[PairScore], bool]]:
        """What `score` gives, after each part of the work what is known by then; is it the last?

        First early scores, of the first so many pairs, then scores of all: the more of the best
        have gone through all layers, the nearer to the last ones. Raises as `score`.
        """
        unique = list(dict.fromkeys(pairs))
        early: dict[Pair, PairScore] = {}
        states: dict[Pair, Tensor] = {}
        for part in _parts(unique, _BEGUN_AT_ONCE):
            with self._lock:
                early |= self._first_step(part, states, memory)
            # Whoever is not among the best of some is not among the best of all.
            best = set(_best(early, self._keep))
            states = {pair: of for pair, of in states.items() if pair in best}
            if len(early) < len(unique):
                known = list(takewhile(early.__contains__, pairs))
                yield _scores(known, early, {}), False
        full: dict[Pair, PairScore] = {}
        kept = _best(early, self._keep)
        for part in _parts(kept, _FINISHED_AT_ONCE):
            with self._lock:
                full |= self._second_step(part, states, memory)
            yield _scores(pairs, early, full), len(full) == len(kept)

    def _torch_forward(
        self, loaded: Classifier, folder: Path, dtype: torch.dtype, batch_tokens: int
    ) -> TwoStepForward:
        head = load_head(folder, loaded.network)
        if head is None:
            raise ModelSourceError(
                f"rerank_keep: {self._name} has no early head, which the cross-encoder recipe "
                "trains with options.early_layer; 0 runs all layers for every candidate"
            )
        return TwoStepForward(
            loaded.network,
            head,
            dtype=dtype,
            batch_tokens=batch_tokens,
            takes_types=loaded.takes_types,
        )

    def _first_step(
        self, pairs: Sequence[Pair], states: dict[Pair, Tensor], memory: PassageMemory | None
    ) -> dict[Pair, PairScore]:
        """Early scores; adds the states of what had to be computed."""
        known = {pair: score for pair in pairs if (score := self._early.get(pair))}
        missing = [pair for pair in pairs if pair not in known]
        if missing:
            with self._errors():
                read = self._read(missing, memory)
                logits, begun = self._forward.begin(read)
            states |= dict(zip(missing, begun, strict=True))
            for pair, score in zip(missing, self._rounded(logits, read), strict=True):
                self._early.put(pair, score)
                known[pair] = score
        return known

    def _second_step(
        self, pairs: Sequence[Pair], states: dict[Pair, Tensor], memory: PassageMemory | None
    ) -> dict[Pair, PairScore]:
        """Full scores; takes the states that it goes on from."""
        known = {pair: score for pair in pairs if (score := self._scores.get(pair))}
        missing = [pair for pair in pairs if pair not in known]
        if missing:
            with self._errors():
                read = self._read(missing, memory)
                # An early score that was remembered left no states.
                anew = [place for place, pair in enumerate(missing) if pair not in states]
                _logits, begun = self._forward.begin([read[place] for place in anew])
                states |= dict(zip([missing[place] for place in anew], begun, strict=True))
                logits = self._forward.finish([states.pop(pair) for pair in missing])
            for pair, score in zip(missing, self._rounded(logits, read), strict=True):
                self._scores.put(pair, score)
                known[pair] = score
        return known


def _parts(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    return (pairs[start : start + size] for start in range(0, len(pairs), size))


def _by_query(pairs: Sequence[Pair]) -> list[list[int]]:
    """Places of each query's pairs."""
    places: dict[str, list[int]] = {}
    for place, (query, _passage) in enumerate(pairs):
        places.setdefault(query, []).append(place)
    return list(places.values())


def _best(early: Mapping[Pair, PairScore], keep: int) -> list[Pair]:
    """Of each query the best pairs by their early logit, best first."""
    pairs = list(early)
    chosen = []
    for places in _by_query(pairs):
        of_query = [pairs[place] for place in places]
        chosen += sorted(of_query, key=lambda pair: (-early[pair].logit, pair[1]))[:keep]
    return chosen


def _scores(
    pairs: Sequence[Pair], early: Mapping[Pair, PairScore], full: Mapping[Pair, PairScore]
) -> list[PairScore]:
    """Of pairs whose early scores are known, each query's on one scale; in input order."""
    found: dict[int, PairScore] = {}
    for places in _by_query(pairs):
        of_query = [pairs[place] for place in places]
        logits = one_scale(
            [early[pair].logit for pair in of_query],
            {place: full[pair].logit for place, pair in enumerate(of_query) if pair in full},
        )
        for place, pair, logit in zip(places, of_query, logits, strict=True):
            found[place] = PairScore(logit, early[pair].truncated)
    return [found[place] for place in range(len(pairs))]
