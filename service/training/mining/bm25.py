"""Negatives that share words with the query, by BM25."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import TrainingError
from service.extras import install_command
from service.training.mining.choice import Choice, Ranking
from service.training.mining.examples import Examples
from service.words import tokenize


def rank_bm25(examples: Examples, choice: Choice) -> list[Ranking]:
    """Each query's best passages, enough for the choice's window; ties by place.

    Scores are BM25's (Lucene's variant, k1 1.5, b 0.75): 0 and above, without an upper bound, not
    comparable between queries. Passages that share no word with the query are no candidates.
    """
    index = _index([tokenize(text) for text in examples.passages])
    wanted = choice.rank_max + max(map(len, examples.positives))
    rankings = []
    for query, positives in zip(examples.queries, examples.positives, strict=True):
        scores = _scores(index, tokenize(query), len(examples.passages))
        places = _best(scores, wanted)
        rankings.append(Ranking(places, scores[places], scores[list(positives)]))
    return rankings


def _index(words: Sequence[Sequence[str]]) -> Any:
    try:
        import bm25s  # noqa: PLC0415
    except ImportError as error:
        raise TrainingError(f"BM25 needs the package bm25s: {install_command('train')}") from error
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    # A passage without a word would leave an index of no words at all without a vocabulary.
    index.index([list(found) or [""] for found in words], show_progress=False)
    return index


def _scores(index: Any, words: Sequence[str], passages: int) -> NDArray[np.float64]:
    known = [word for word in words if word in index.vocab_dict]
    if not known:
        return np.zeros(passages)
    return np.asarray(index.get_scores(known), np.float64)


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the `count` highest scores above 0, best first."""
    places = np.flatnonzero(scores > 0)
    if len(places) > count:
        kth = np.partition(scores[places], -count)[-count]
        places = places[scores[places] >= kth]  # ties at the cut-off are settled by place
    return places[np.lexsort((places, -scores[places]))][:count]
